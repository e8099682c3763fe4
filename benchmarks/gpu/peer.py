"""The peer of the throughput: Hugging Face transformers' continuous batching, same weights, same requests, greedy.

Its attention is the best that is installed: flash-attn where there is one, else torch's. Nothing is downloaded.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import fields
from typing import Any

import torch
from gpu.deadline import Deadline
from gpu.random_weights import random_weight
from gpu.scene import Scene
from gpu.workloads import alike, mixed
from transformers import AutoConfig, AutoModelForCausalLM, ContinuousBatchingConfig, GenerationConfig
from transformers.utils import is_flash_attn_2_available, is_flash_attn_3_available
from workload import Request

_NO_TOKEN = -1
_WARM_UP = 8
_STOPPING_S = 10.0


def measure(scene: Scene, deadline: Deadline) -> Iterator[dict[str, Any]]:
    """One record: of all requests, or of what was there when its time was over. Raises OutOfTime."""
    attention = _attention()
    # What it would switch to by itself may be a download: there is an option against that, or, in transformers before
    # it had one, a prefix.
    has_option = "auto_switch_to_flash" in {field.name for field in fields(ContinuousBatchingConfig)}
    options = {"auto_switch_to_flash": False} if has_option else {}
    model = _model(scene, attention if has_option else f"paged|{attention}")
    manager = model.init_continuous_batching(
        GenerationConfig(do_sample=False, eos_token_id=_NO_TOKEN, pad_token_id=0),
        continuous_batching_config=ContinuousBatchingConfig(
            num_blocks=scene.peer_blocks, max_batch_tokens=scene.peer_batched_tokens, **options
        ),
    )
    manager.warmup()
    manager.start()
    until_s = deadline.at_s - _STOPPING_S
    try:
        warm_up = alike("warm-up", scene.small["vocab_size"], _WARM_UP, *scene.lengths)
        _generate(manager, warm_up.requests, until_s)
        workload = mixed(scene)
        deadline.demand(_STOPPING_S)
        began_s = time.monotonic()
        found = _generate(manager, workload.requests, until_s)
        seconds = time.monotonic() - began_s
    finally:
        manager.stop(block=True, timeout=_STOPPING_S, hard_stop=True)
    ended = len(found)
    # What had begun comes, as far as it is, once the loop has stopped.
    while (output := manager.get_result(timeout=0.1)) is not None:
        found[output.request_id] = output.generated_tokens
    output_tokens = sum(map(len, found.values()))
    yield {
        "engine": "transformers",
        "attention": attention,
        "requests": len(workload.requests),
        "ended": ended,
        "prompt_tokens": workload.prompt_tokens,
        "output_tokens": output_tokens,
        "seconds": seconds,
        "tokens_per_s": output_tokens / seconds,
        "first_tokens": [next(iter(found.get(str(n), ())), None) for n in range(len(workload.requests))],
    }


def _attention() -> str:
    if is_flash_attn_3_available():
        return "flash_attention_3"
    return "flash_attention_2" if is_flash_attn_2_available() else "sdpa"


def _model(scene: Scene, attention: str) -> Any:
    config = AutoConfig.for_model(**scene.small)
    dtype = getattr(torch, scene.small["dtype"])
    with scene.device:
        model = AutoModelForCausalLM.from_config(config, dtype=dtype, attn_implementation=attention)
    with torch.inference_mode():
        for name, parameter in model.named_parameters():
            parameter.copy_(random_weight(name, parameter.shape, dtype, scene.device))
    return model.eval()


def _generate(manager: Any, requests: Sequence[Request], until_s: float) -> dict[str, list[int]]:
    """Tokens by the request's number: of those that end in time. Raises RuntimeError for one that fails."""
    for number, request in enumerate(requests):
        manager.add_request(
            list(request.prompt), str(number), max_new_tokens=request.max_tokens, eos_token_id=_NO_TOKEN
        )
    found: dict[str, list[int]] = {}
    while len(found) < len(requests) and time.monotonic() < until_s:
        output = manager.get_result(timeout=0.5)
        if output is not None and output.error:
            raise RuntimeError(f"transformers: request {output.request_id}: {output.error}")
        if output is not None and output.is_finished():
            found[output.request_id] = output.generated_tokens
        elif not manager.is_running():
            raise RuntimeError("transformers: the generation loop ended early")
    return found
