"""The highest request rate at which latency stays under a bound, by bisection; what was measured on the way is kept."""

from collections.abc import Callable

_FIRST_STRIDE = 1.25


class Curve:
    """Latency over rate, measured where it is asked for. Latency is taken to grow with the rate."""

    def __init__(self, measure: Callable[[float], float]) -> None:
        self._measure = measure
        self._points: dict[float, float] = {}

    @property
    def points(self) -> list[tuple[float, float]]:
        """(rate, latency), by rate."""
        return sorted(self._points.items())

    def at(self, rate: float) -> float:
        if rate not in self._points:
            self._points[rate] = self._measure(rate)
        return self._points[rate]

    def highest_rate(self, bound: float, start: float, precision: float = 0.03) -> float:
        """The highest rate measured whose latency is at most `bound`; one `precision` higher has more.

        Searched from `start`, in strides that grow until the bound is between two of them.
        """
        stride = _FIRST_STRIDE
        while True:
            good = max((rate for rate, latency in self._points.items() if latency <= bound), default=None)
            bad = min((rate for rate, latency in self._points.items() if latency > bound), default=None)
            if good and bad:
                break
            self.at(start if not self._points else bad / stride if bad else (good or start) * stride)
            stride *= _FIRST_STRIDE
        while bad / good > 1 + precision:
            middle = (good * bad) ** 0.5
            if self.at(middle) <= bound:
                good = middle
            else:
                bad = middle
        return good
