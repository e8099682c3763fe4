"""The peer: Hugging Face transformers' `generate`, one request at a time, in this process."""

import time
from pathlib import Path
from typing import Any

import torch
from client import Measured, Timing
from transformers import AutoModelForCausalLM
from workload import Request, Workload


class HuggingFace:
    """A model folder loaded by transformers, greedy, generating exactly as many tokens as it is asked for."""

    def __init__(self, model: Path, dtype: str) -> None:
        self._model: Any = AutoModelForCausalLM.from_pretrained(model, dtype=getattr(torch, dtype)).eval()
        self._model.generation_config.eos_token_id = None  # ends at max_new_tokens alone

    def measure(self, workload: Workload) -> Measured:
        """One request after the other."""
        began_s, began_cpu_s = time.perf_counter(), time.process_time()
        timings = tuple(self._generate(request) for request in workload.requests)
        return Measured(time.perf_counter() - began_s, time.process_time() - began_cpu_s, timings)

    @torch.inference_mode()
    def _generate(self, request: Request) -> Timing:
        prompt = torch.tensor([request.prompt])  # (1, prompt tokens)
        clock = _TokenClock()
        self._model.generate(
            input_ids=prompt,
            attention_mask=torch.ones_like(prompt),
            max_new_tokens=request.max_tokens,
            do_sample=False,
            streamer=clock,
        )
        assert len(clock.tokens_s) == request.max_tokens, (
            f"{len(clock.tokens_s)} tokens instead of {request.max_tokens}"
        )
        return Timing(clock.tokens_s[0], clock.tokens_s[-1], request.max_tokens)


class _TokenClock:
    """What `generate` calls a streamer: it is given the prompt first, then every token."""

    def __init__(self) -> None:
        self._began_s = time.perf_counter()
        self._prompt_seen = False
        self.tokens_s: list[float] = []

    def put(self, value: torch.Tensor) -> None:
        if self._prompt_seen:
            self.tokens_s.append(time.perf_counter() - self._began_s)
        self._prompt_seen = True

    def end(self) -> None:
        pass
