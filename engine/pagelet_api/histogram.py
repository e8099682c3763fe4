"""A histogram that costs little enough to be fed with every token. Refuses to know Prometheus."""

from bisect import bisect_left
from collections.abc import Sequence
from itertools import accumulate


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

    def cumulative(self) -> list[tuple[str, int]]:
        """(upper bound as Prometheus writes it, observations up to it) for every bucket; the last bound is +Inf."""
        bounds = [*map(str, map(float, self._upper_bounds)), "+Inf"]
        return list(zip(bounds, accumulate(self._counts), strict=True))
