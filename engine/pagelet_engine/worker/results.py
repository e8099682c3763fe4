"""A step's answer on its way from the device to the core."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NoReturn

from pagelet_engine.core.step import Sampled, Step, TokenLogprobs
from pagelet_engine.worker.logprobs import RawLogprobs
from pagelet_engine.worker.sampler import Drawn


class StepError(Exception):
    """A step that could not be executed. What the worker's state is now is unknown: the engine ends."""


class LogitsError(StepError):
    """A model that computed NaN or infinity. No token is better than a meaningless one, so the step fails."""


@dataclass(frozen=True, slots=True)
class AskedLogprobs:
    """Rows of log probabilities, whose they are, and how many alternatives each wants."""

    parts: Sequence[RawLogprobs]
    samples: tuple[int, ...]
    counts: tuple[int, ...]

    def to_host(self) -> dict[int, tuple[TokenLogprobs, ...]]:
        """By sample, in the order of the rows."""
        counts = iter(self.counts)
        entries = [entry for part in self.parts for entry in part.to_host(counts)]
        of_sample: dict[int, list[TokenLogprobs]] = {}
        for sample, entry in zip(self.samples, entries, strict=True):
            of_sample.setdefault(sample, []).append(entry)
        return {sample: tuple(own) for sample, own in of_sample.items()}


@dataclass(frozen=True, slots=True)
class LaunchedStep:
    """A step that runs, or has run, on the device."""

    step: Step
    drawn: Drawn | None
    """A row for each segment that samples a token, in their order."""
    logprobs: AskedLogprobs | None
    prompt_logprobs: Mapping[int, AskedLogprobs]
    """By sample."""

    def result(self) -> Mapping[int, Sampled]:
        """Wait for the device. Raises LogitsError."""
        drawing = [segment for segment in self.step.segments if segment.samples_token]
        tokens = self.drawn.tokens.tolist() if self.drawn else []
        sound = self.drawn.sound.tolist() if self.drawn else []
        if not all(sound):
            broken = [segment for segment, is_sound in zip(drawing, sound, strict=True) if not is_sound]
            raise LogitsError(
                f"step {self.step.number}: the model computed NaN or infinite logits for {len(broken)} of {len(sound)} "
                f"samples, first at position {broken[0].start + broken[0].num_tokens - 1}; the weights are broken, or "
                "numbers leave the range of the dtype: where that is float16, use bfloat16 or float32"
            )
        token_of = {segment.sample: token for segment, token in zip(drawing, tokens, strict=True)}
        logprobs = self.logprobs.to_host() if self.logprobs else {}
        results = {}
        for segment in self.step.segments:
            number = segment.sample
            drawn = (token_of[number],) if number in token_of else ()
            prompt = self.prompt_logprobs[number].to_host()[number] if number in self.prompt_logprobs else ()
            results[number] = Sampled(drawn, logprobs.get(number, ()), prompt)
        return results


@dataclass(frozen=True, slots=True)
class FailedStep:
    number: int
    cause: Exception

    def result(self) -> NoReturn:
        """Raises StepError, from the cause."""
        raise StepError(f"step {self.number} failed: {type(self.cause).__name__}: {self.cause}") from self.cause
