"""When a part must have ended, and what it does when that is too soon for what comes next."""

import time
from dataclasses import dataclass


class OutOfTime(Exception):
    """What is left to measure does not fit into the part's time."""


@dataclass(frozen=True, slots=True)
class Deadline:
    at_s: float
    """On the monotonic clock, which all processes of a machine share."""

    @property
    def left_s(self) -> float:
        return self.at_s - time.monotonic()

    def demand(self, seconds: float = 0.0) -> None:
        """Raises OutOfTime unless so much is left."""
        if self.left_s < seconds:
            raise OutOfTime
