"""Models whose layers fall into two KV groups, through the whole engine core: one block table a group."""

import pytest
from pagelet_api.config import EngineConfig
from pagelet_engine.core.engine import EngineCore
from pagelet_engine.core.request import Request
from pagelet_engine.core.sampling import SamplingParams
from pagelet_engine.core.scheduler import Scheduler
from pagelet_engine.worker.loading import load_worker

from tests.engine.models.test_families import LOCAL, WHOLE, prompts

OUTPUT_TOKENS = 20
WINDOWED = {"sliding_window": 10, "layer_types": [LOCAL, WHOLE, LOCAL]}
MODELS = {
    "Gemma 3": ("Gemma3ForCausalLM", WINDOWED),
    "Qwen2": ("Qwen2ForCausalLM", {"use_sliding_window": True, "num_attention_heads": 3, **WINDOWED}),
}


@pytest.mark.parametrize(("architecture", "fields"), MODELS.values(), ids=MODELS.keys())
@pytest.mark.parametrize("num_blocks", [64, 24], ids=["room for all", "preemptions"])
def test_greedy_tokens_are_those_of_transformers(tiny_model, architecture, fields, num_blocks):
    tiny = tiny_model(architecture, **{"num_key_value_heads": 1} | fields)
    config = EngineConfig(model_name="tiny", device="cpu", dtype="float32", block_size=4, kv_cache_bytes=1 << 20)
    loaded = load_worker(tiny.folder, config)
    assert [group.window for group in loaded.groups] == [10, None]
    scheduler = Scheduler(
        num_blocks=num_blocks,
        num_kv_groups=len(loaded.groups),
        block_size=4,
        max_model_len=128,
        max_batched_tokens=16,
        max_num_seqs=8,
        max_queued=8,
        prefix_caching=True,
    )
    core = EngineCore(scheduler, loaded.worker, depth=1)
    (shared,) = prompts(13)
    asked = [shared + prompt for prompt in prompts(5, 9, 14, 3)]
    found: dict[str, list[int]] = {}
    for number, prompt in enumerate(asked):
        found[str(number)] = []
        core.add(Request(str(number), tuple(prompt), SamplingParams(temperature=0, max_tokens=OUTPUT_TOKENS)))
    while core.has_work:
        for update in core.step():
            for sample in update.samples:
                found[update.request_id].extend(sample.tokens)
        core.check()
    assert (core.load().preemptions > 0) == (num_blocks == 24)
    for number, prompt in enumerate(asked):
        wanted = tiny.greedy(prompt, OUTPUT_TOKENS)
        assert found[str(number)] == wanted
