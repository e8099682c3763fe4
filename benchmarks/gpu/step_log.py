"""When a device worked on each step, and when it had nothing to do between two of them.

A step begins where its first work enters the device's stream, once the host has packed it, and ends behind its last.
Owns the marks in the stream; refuses to know what a step computes.
"""

import time
from dataclasses import dataclass
from itertools import pairwise
from typing import Generic, Protocol, TypeVar

import torch
from pagelet_engine.core.step import Step, StepHandle, Worker

M = TypeVar("M")


class Marks(Protocol[M]):
    def mark(self) -> M:
        """A place in the stream: now, for whoever has no stream."""
        ...

    def is_past(self, mark: M) -> bool:
        """Whether the device has come so far."""
        ...

    def seconds(self, earlier: M, later: M) -> float: ...


class CudaMarks:
    def mark(self) -> torch.cuda.Event:
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def is_past(self, mark: torch.cuda.Event) -> bool:
        return bool(mark.query())

    def seconds(self, earlier: torch.cuda.Event, later: torch.cuda.Event) -> float:
        return float(earlier.elapsed_time(later)) / 1e3


class HostMarks:
    """Of a device that has done everything when a call returns."""

    def mark(self) -> float:
        return time.perf_counter()

    def is_past(self, mark: float) -> bool:
        return True

    def seconds(self, earlier: float, later: float) -> float:
        return later - earlier


Share = tuple[int, int, int, bool]
"""One sample's part of a step: slot, start, tokens, whether it draws."""


@dataclass(frozen=True, slots=True)
class LoggedStep(Generic[M]):
    shares: tuple[Share, ...]
    began: M
    ended: M
    was_late: bool
    """The device had ended the step before when all of this one had been launched: it may have waited for it."""

    @property
    def is_decode(self) -> bool:
        return all(num_tokens == 1 for _, _, num_tokens, _ in self.shares)


@dataclass(frozen=True, slots=True)
class Pace:
    """Of consecutive steps."""

    step_s: tuple[float, ...]
    """Of each but the first, from the end of the one before to its own."""
    gap_s: tuple[float, ...]
    """Of these, what passed before it began."""
    num_late: int

    @property
    def gap_share(self) -> float:
        return sum(self.gap_s) / sum(self.step_s)


class StepLog(Generic[M]):
    """Of one worker, whose `tell` and `submit` it is part of."""

    def __init__(self, marks: Marks[M]) -> None:
        self._marks = marks
        self._began: M | None = None
        self.steps: list[LoggedStep[M]] = []

    def begin(self, step: int, header: bytes) -> None:
        """Implements `worker.Tell`: packed, and nothing of it launched."""
        self._began = self._marks.mark()

    def end(self, step: Step) -> None:
        assert self._began is not None, "a step that was never packed"
        ended = self._marks.mark()
        was_late = bool(self.steps) and self._marks.is_past(self.steps[-1].ended)
        # Tuples of numbers: the collector looks at them once, as it would not at as many segments.
        shares = tuple([(*segment[1:4], segment.samples_token) for segment in step.segments])
        self.steps.append(LoggedStep(shares, self._began, ended, was_late))

    def pace(self, steps: list[LoggedStep[M]]) -> Pace:
        """Of these, one after the other. The device must have ended them."""
        pairs = list(pairwise(steps))
        return Pace(
            tuple(self._marks.seconds(before.ended, step.ended) for before, step in pairs),
            tuple(max(0.0, self._marks.seconds(before.ended, step.began)) for before, step in pairs),
            sum(step.was_late for _, step in pairs),
        )


class LoggedWorker(Generic[M]):
    """Passes every step on to `worker`, which begins it in the log itself."""

    def __init__(self, worker: Worker, log: StepLog[M]) -> None:
        self._worker, self._log = worker, log

    def submit(self, step: Step) -> StepHandle:
        handle = self._worker.submit(step)
        self._log.end(step)
        return handle
