"""Sends a workload to any OpenAI-compatible server, streaming, and times what comes back."""

import json
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from urllib.parse import urlsplit

from event_stream import BrokenAnswer, read_answer
from exchange import Exchange, ExchangeFailed, exchange
from workload import Request, Workload


class WrongAnswer(Exception):
    """The server refused, or generated another number of tokens than it was asked for."""


@dataclass(frozen=True, slots=True)
class Timing:
    """One request's answer, in seconds from when it was sent."""

    first_token_s: float
    last_token_s: float
    output_tokens: int
    longest_gap_s: float = 0.0
    """Between two events that brought text."""


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
    def longest_gap_s(self) -> float:
        """The longest that any stream stood still."""
        return max(timing.longest_gap_s for timing in self.timings)

    @property
    def decode_tokens_per_s(self) -> float:
        """Median over the requests of the speed after the first token."""
        return statistics.median(
            (timing.output_tokens - 1) / (timing.last_token_s - timing.first_token_s)
            for timing in self.timings
            if timing.output_tokens > 1
        )


def measure(url: str, model: str, workload: Workload, *, exact: bool = True) -> Measured:
    """All requests of the workload at once.

    Raises WrongAnswer for a refusal and, when `exact`, for an answer of another length than was asked for.
    """
    bodies = [_http_request(url, model, request) for request in workload.requests]
    began_s, began_cpu_s = time.perf_counter(), time.process_time()
    try:
        exchanges = exchange(url, bodies)
        cpu_s = time.process_time() - began_cpu_s
        timings = tuple(_timing(one) for one in exchanges)
    except (ExchangeFailed, BrokenAnswer) as error:
        raise WrongAnswer(str(error)) from error
    ended_s = max(one.sent_s + timing.last_token_s for one, timing in zip(exchanges, timings, strict=True))
    measured = Measured(ended_s - began_s, cpu_s, timings)
    if exact and (wrong := wrong_lengths(workload, measured)):
        raise WrongAnswer(f"wanted {wrong[0][0]} tokens, got {wrong[0][1]}")
    return measured


def wrong_lengths(workload: Workload, measured: Measured) -> list[tuple[int, int]]:
    """(wanted, got) of the answers that do not have the length that was asked for."""
    pairs = zip(workload.requests, measured.timings, strict=True)
    return [(asked.max_tokens, got.output_tokens) for asked, got in pairs if asked.max_tokens != got.output_tokens]


def _http_request(url: str, model: str, request: Request) -> bytes:
    body = json.dumps(
        {
            "model": model,
            "prompt": list(request.prompt),
            "max_tokens": request.max_tokens,
            "temperature": 0,
            "ignore_eos": True,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
    ).encode()
    head = (
        "POST /v1/completions HTTP/1.1",
        f"Host: {urlsplit(url).netloc}",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        "Connection: close",
    )
    return "\r\n".join((*head, "", "")).encode() + body


def _timing(one: Exchange) -> Timing:
    answer = read_answer(one.pieces)
    if answer.status != 200:
        raise WrongAnswer(f"status {answer.status}: {answer.body.decode(errors='replace'):.500}")
    times_s = [time_s - one.sent_s for time_s, event in answer.events if event.get("choices")]
    usages = [event["usage"] for _, event in answer.events if event.get("usage")]
    if not times_s or not usages:
        raise WrongAnswer(
            f"wanted a stream that ends with its usage, found {answer.body.decode(errors='replace'):.500}"
        )
    return Timing(times_s[0], times_s[-1], usages[-1]["completion_tokens"], _longest_gap_s(times_s))


def _longest_gap_s(times_s: Sequence[float]) -> float:
    return max((later - earlier for earlier, later in pairwise(times_s)), default=0.0)
