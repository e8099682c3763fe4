"""What the engine has done since it started, in numbers that only grow.

Plain attributes, because they change on every step. Refuses to know Prometheus: metrics.py shows them.
"""

from bisect import bisect_left
from collections.abc import Sequence
from itertools import accumulate
from math import inf

from pagelet_api import inference_pb2 as pb
from pagelet_api import metric_buckets

_REASONS = (pb.STOP, pb.LENGTH, pb.ABORT, pb.DEADLINE)
_ANSWERED = {pb.STOP, pb.LENGTH}


class Histogram:
    """Counts of observations by bucket, without locks: one event loop owns it."""

    def __init__(self, upper_bounds: Sequence[float]) -> None:
        self._upper_bounds = upper_bounds
        self._counts = [0] * (len(upper_bounds) + 1)
        self._sum = 0.0

    def observe(self, value: float, times: int = 1) -> None:
        """Count a value, as often as it was seen."""
        self._counts[bisect_left(self._upper_bounds, value)] += times
        self._sum += value * times

    @property
    def sum(self) -> float:
        """Of all observations."""
        return self._sum

    def cumulative(self) -> list[tuple[float, int]]:
        """(upper bound, observations up to it) for every bucket; the last bound is infinite."""
        return list(zip((*self._upper_bounds, inf), accumulate(self._counts), strict=True))


class Measures:
    """Since the engine started."""

    def __init__(self) -> None:
        self.prompt_tokens = 0
        self.generation_tokens = 0
        self.broken_requests = 0
        self.finished_requests = dict.fromkeys(_REASONS, 0)
        self.time_to_first_token = Histogram(metric_buckets.TIME_TO_FIRST_TOKEN_S)
        self.inter_token = Histogram(metric_buckets.INTER_TOKEN_S)
        self.e2e = Histogram(metric_buckets.REQUEST_S)
        self.queue_time = Histogram(metric_buckets.REQUEST_S)
        self.iteration_tokens = Histogram(metric_buckets.STEP_TOKENS)

    def finished(self, reason: pb.FinishReason, latency_s: float) -> None:
        """A request has ended; its latency counts when it ended with an answer."""
        if reason in self.finished_requests:
            self.finished_requests[reason] += 1
        if reason in _ANSWERED:
            self.e2e.observe(latency_s)
