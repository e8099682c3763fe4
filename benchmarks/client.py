"""Sends a workload to any OpenAI-compatible server, streaming, and times what comes back."""

import asyncio
import json
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass

import httpx
from workload import Request, Workload


class WrongAnswer(Exception):
    """The server refused, or generated another number of tokens than it was asked for."""


@dataclass(frozen=True, slots=True)
class Timing:
    """One request's answer, in seconds from when it was sent."""

    first_token_s: float
    last_token_s: float
    output_tokens: int


@dataclass(frozen=True, slots=True)
class Measured:
    """One workload's answers."""

    wall_s: float
    """From the first request sent to the last token received."""
    cpu_s: float
    """Processor time that the client itself took: on one machine it shares the cores."""
    timings: tuple[Timing, ...]

    @property
    def output_tokens(self) -> int:
        return sum(timing.output_tokens for timing in self.timings)

    @property
    def output_tokens_per_s(self) -> float:
        return self.output_tokens / self.wall_s

    @property
    def first_token_s(self) -> float:
        """Median over the requests."""
        return statistics.median(timing.first_token_s for timing in self.timings)

    @property
    def decode_tokens_per_s(self) -> float:
        """Median over the requests of the speed after the first token."""
        return statistics.median(
            (timing.output_tokens - 1) / (timing.last_token_s - timing.first_token_s)
            for timing in self.timings
            if timing.output_tokens > 1
        )


def measure(url: str, model: str, workload: Workload) -> Measured:
    """All requests of the workload at once."""
    return asyncio.run(_measure(url, model, workload.requests))


async def _measure(url: str, model: str, requests: Sequence[Request]) -> Measured:
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(base_url=url, timeout=None, limits=limits) as client:
        began_s, began_cpu_s = time.perf_counter(), time.process_time()
        timings = await asyncio.gather(*(_complete(client, model, request) for request in requests))
        return Measured(time.perf_counter() - began_s, time.process_time() - began_cpu_s, tuple(timings))


async def _complete(client: httpx.AsyncClient, model: str, request: Request) -> Timing:
    body = {
        "model": model,
        "prompt": list(request.prompt),
        "max_tokens": request.max_tokens,
        "temperature": 0,
        "ignore_eos": True,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    sent_s = time.perf_counter()
    first_s = last_s = 0.0
    output_tokens = 0
    async with client.stream("POST", "/v1/completions", json=body) as answer:
        if answer.status_code != httpx.codes.OK:
            raise WrongAnswer(f"status {answer.status_code}: {(await answer.aread()).decode(errors='replace'):.500}")
        async for line in answer.aiter_lines():
            if not line.startswith("data: ") or line == "data: [DONE]":
                continue
            chunk = json.loads(line.removeprefix("data: "))
            if chunk.get("choices"):
                last_s = time.perf_counter() - sent_s
                first_s = first_s or last_s
            if usage := chunk.get("usage"):
                output_tokens = usage["completion_tokens"]
    if output_tokens != request.max_tokens:
        raise WrongAnswer(f"wanted {request.max_tokens} tokens, got {output_tokens}")
    return Timing(first_s, last_s, output_tokens)
