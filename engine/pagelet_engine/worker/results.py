"""A step's answer on its way from the device to the core."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NoReturn

from torch import Tensor

from pagelet_engine.core.step import NoToken, Sampled, Step, TokenLogprobs
from pagelet_engine.kernels.row_status import RowStatus
from pagelet_engine.worker.logprobs import RawLogprobs

_NO_TOKEN = {RowStatus.NON_FINITE: NoToken.NON_FINITE, RowStatus.NOTHING_LEFT: NoToken.NOTHING_LEFT}


class StepError(Exception):
    """A step that could not be executed. What the worker's state is now is unknown: the engine ends."""


@dataclass(frozen=True, slots=True)
class Drawn:
    tokens: Tensor
    """(rows,) int64"""
    status: Tensor
    """(rows,) RowStatus, of any integer type."""


@dataclass(frozen=True, slots=True)
class AskedLogprobs:
    """Rows of log probabilities, whose they are, and how many alternatives each wants."""

    parts: Sequence[RawLogprobs]
    samples: tuple[int, ...]
    counts: tuple[int, ...]

    @classmethod
    def joined(cls, several: Sequence["AskedLogprobs"]) -> "AskedLogprobs":
        return cls(
            [part for each in several for part in each.parts],
            tuple(sample for each in several for sample in each.samples),
            tuple(count for each in several for count in each.counts),
        )

    def to_host(self) -> dict[int, tuple[TokenLogprobs, ...]]:
        """By sample, in the order of the rows."""
        counts = iter(self.counts)
        entries = [entry for part in self.parts for entry in part.to_host(counts)]
        of_sample: dict[int, list[TokenLogprobs]] = {}
        for sample, entry in zip(self.samples, entries, strict=True):
            of_sample.setdefault(sample, []).append(entry)
        return {sample: tuple(own) for sample, own in of_sample.items()}


def _nothing() -> None:
    """A device that has done everything already."""


@dataclass(frozen=True, slots=True)
class LaunchedStep:
    """A step that runs, or has run, on the device."""

    step: Step
    drawn: Drawn | None
    """A row for each segment that samples a token, in their order."""
    logprobs: AskedLogprobs | None
    prompt_logprobs: AskedLogprobs | None
    wait: Callable[[], None] = _nothing
    """Until all of these are in host memory, and the step's copies are made."""

    def result(self) -> Mapping[int, Sampled]:
        """Wait for the device."""
        self.wait()
        rows = iter(zip(self.drawn.tokens.tolist(), self.drawn.status.tolist(), strict=True) if self.drawn else ())
        logprobs = self.logprobs.to_host() if self.logprobs else {}
        prompts = self.prompt_logprobs.to_host() if self.prompt_logprobs else {}
        results = {}
        for segment in self.step.segments:
            number = segment.sample
            prompt = prompts.get(number, ())
            if not segment.samples_token:
                results[number] = Sampled((), (), prompt)
                continue
            token, status = next(rows)
            if status == RowStatus.SAMPLED:
                results[number] = Sampled((token,), logprobs.get(number, ()), prompt)
            else:
                results[number] = Sampled((), (), prompt, _NO_TOKEN[status])
        return results


@dataclass(frozen=True, slots=True)
class FailedStep:
    number: int
    cause: Exception

    def result(self) -> NoReturn:
        """Raises StepError, from the cause."""
        raise StepError(f"step {self.number} failed: {type(self.cause).__name__}: {self.cause}") from self.cause
