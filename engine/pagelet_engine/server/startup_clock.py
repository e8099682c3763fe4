"""Where the time from exec to the first token goes, phase by phase."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager


class StartupClock:
    """Phases of a start that began at `started_s`, on the clock `clock_s`."""

    def __init__(self, started_s: float, clock_s: Callable[[], float]) -> None:
        self._started_s = started_s
        self._clock_s = clock_s
        self._phases_s: dict[str, float] = {"spawn_s": clock_s() - started_s}

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Time what runs inside; phases may overlap."""
        began_s = self._clock_s()
        try:
            yield
        finally:
            self._phases_s[f"{name}_s"] = self._clock_s() - began_s

    def report(self) -> Mapping[str, float]:
        """Seconds of each phase, and of all from the start until now, in milliseconds' precision."""
        phases = {**self._phases_s, "total_s": self._clock_s() - self._started_s}
        return {name: round(seconds, 3) for name, seconds in phases.items()}
