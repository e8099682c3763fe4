"""What the engine has done since it started, in numbers that only grow.

Plain attributes, because they change on every step. Refuses to know Prometheus: metrics.py shows them.
"""

from bisect import bisect_left
from collections.abc import Sequence
from itertools import accumulate
from math import inf

from pagelet_api import inference_pb2 as pb

# The field's buckets, so that existing dashboards work unchanged.
_TTFT_BUCKETS_S = (
    *(0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0),
    *(160.0, 640.0, 2560.0),
)
_INTER_TOKEN_BUCKETS_S = (
    *(0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0),
)
_REQUEST_BUCKETS_S = (
    *(0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0, 120.0, 240.0, 480.0, 960.0),
    *(1920.0, 7680.0),
)
_STEP_TOKENS_BUCKETS = (1, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384)

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
        self.finished_requests = dict.fromkeys(_REASONS, 0)
        self.time_to_first_token = Histogram(_TTFT_BUCKETS_S)
        self.inter_token = Histogram(_INTER_TOKEN_BUCKETS_S)
        self.e2e = Histogram(_REQUEST_BUCKETS_S)
        self.iteration_tokens = Histogram(_STEP_TOKENS_BUCKETS)

    def finished(self, reason: pb.FinishReason, latency_s: float) -> None:
        """A request has ended; its latency counts when it ended with an answer."""
        if reason in self.finished_requests:
            self.finished_requests[reason] += 1
        if reason in _ANSWERED:
            self.e2e.observe(latency_s)
