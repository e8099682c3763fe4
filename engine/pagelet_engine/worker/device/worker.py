"""Rank 0: packs each step, tells the others, computes its own share, and draws."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pagelet_engine.core.sampling import SamplingParams
from pagelet_engine.core.step import Segment, Step, StepHandle
from pagelet_engine.kernels.sampling_table import StartRows
from pagelet_engine.worker.device.execution import Rank, Wait
from pagelet_engine.worker.device.header import Header
from pagelet_engine.worker.device.packed_starts import PackedStarts
from pagelet_engine.worker.device.packing import decodes_first, fill, make_header
from pagelet_engine.worker.device.sampling import Sampling
from pagelet_engine.worker.device.sections import Sections, aligned, cut, payload_length
from pagelet_engine.worker.logprobs import raw_logprobs
from pagelet_engine.worker.results import AskedLogprobs, Drawn, FailedStep, LaunchedStep

IntArray = npt.NDArray[np.int32]
Fetch = Callable[[Sequence[Tensor]], tuple[list[Tensor], Wait]]
"""Tensors → the same in host memory, and how to wait until they are there."""
Tell = Callable[[int, bytes], None]
"""Tell the other ranks of a step: its number and its encoded header."""


class Staging(Protocol):
    def next(self) -> IntArray:
        """Host memory to pack a payload into."""
        ...

    def send(self, length: int, into: Tensor) -> None:
        """Send so much of what `next` gave."""
        ...

    def send_apart(self, numbers: IntArray) -> Tensor:
        """Send what is not in every step, and may be long: → the same on the device."""
        ...


class Payload:
    """One step's, while it is packed: the sections that all ranks get, and behind them what rank 0 alone wants."""

    def __init__(self, buffer: IntArray, header: Header) -> None:
        self.sections = cut(buffer, header)
        self.shared_length = self.length = payload_length(header)
        self._buffer = buffer

    def append(self, numbers: Sequence[int] | IntArray) -> slice:
        """Where these numbers are from now on."""
        array = np.asarray(numbers, np.int32).reshape(-1)
        part = slice(self.length, self.length + len(array))
        self._buffer[part] = array
        self.length = aligned(part.stop)
        return part


@dataclass(frozen=True, slots=True)
class Seat:
    """What the host knows of a slot's sample."""

    sampling: SamplingParams
    prompt: tuple[int, ...]
    adapter_slot: int


@dataclass(frozen=True, slots=True)
class PromptPart:
    """Tokens of a prompt whose log probabilities are asked for, and computed in this step."""

    sample: int
    first_row: int
    targets: tuple[int, ...]
    """The token behind each row."""
    count: int
    """Alternatives wanted."""


class DeviceWorker:
    """Implements `core.step.Worker` for rank 0 of `rank.group`."""

    def __init__(
        self,
        rank: Rank,
        sampling: Sampling,
        staging: Staging,
        fetch: Fetch,
        *,
        graph_sizes: Sequence[int],
        max_prompt_rows: int,
        tell: Tell,
    ) -> None:
        """graph_sizes: numbers of sequences for which the rank has a graph. max_prompt_rows: of logits of prompts, made
        at once."""
        self._rank, self._sampling = rank, sampling
        self._staging, self._fetch = staging, fetch
        self._graph_sizes, self._max_prompt_rows = graph_sizes, max_prompt_rows
        self._tell = tell
        self._seats: dict[int, Seat] = {}

    def submit(self, step: Step) -> StepHandle:
        """Whatever fails is raised by the handle's result(), as StepError."""
        try:
            with torch.inference_mode():
                return self._execute(step)
        except Exception as error:
            return FailedStep(step.number, error)

    def _execute(self, step: Step) -> StepHandle:
        step = decodes_first(step)
        for start in step.starts:
            self._seats[start.slot] = Seat(start.sampling, start.prompt, start.adapter_slot)
        asked = list(self._prompt_parts(step))
        drawing = [segment for segment in step.segments if segment.samples_token]
        logprob_rows = [row for row, each in enumerate(drawing) if self._logprobs_of(each) is not None]

        # What the device will read of this step, in one piece.
        rank, state = self._rank, self._rank.state
        num_prompt_rows = sum(len(part.targets) for part in asked)
        header = make_header(step, num_prompt_rows, self._graph_sizes, len(state.block_tables), self._max_prompt_rows)
        payload = Payload(self._staging.next(), header)
        prompt_rows = [part.first_row + place for part in asked for place in range(len(part.targets))]
        adapters = [self._seats[segment.slot].adapter_slot for segment in step.segments]
        fill(payload.sections, header, step, prompt_rows, adapters)
        positions = payload.append([segment.start + segment.num_tokens for segment in drawing])
        picked = payload.append(logprob_rows)
        targets = payload.append([token for part in asked for token in part.targets])
        starts = self._sampling.pack(step.starts) if step.starts else None

        # From here on, everything is launched, and nothing is waited for.
        self._tell(step.number, header.encode())
        self._staging.send(payload.length, state.payload)
        rank.group.broadcast(state.payload[: payload.shared_length])
        if starts:
            self._sampling.seat(self._send_starts(starts))
        sections = cut(state.payload, header)
        logits = rank.compute(header, sections)
        drawn, logprobs = None, None
        if drawing:
            drawn_at = state.payload[positions]
            tokens, status = self._sampling.draw(logits, drawing, sections.draw_slots, drawn_at, state.last_token)
            rank.group.broadcast(tokens)
            drawn = Drawn(tokens, status)
            if logprob_rows:
                rows = state.payload[picked]
                counts = [count for each in drawing if (count := self._logprobs_of(each)) is not None]
                raw = raw_logprobs(logits.index_select(0, rows), tokens.index_select(0, rows).long(), max(counts))
                samples = tuple(drawing[row].sample for row in logprob_rows)
                logprobs = AskedLogprobs([raw], samples, tuple(counts))
        prompts = self._prompt_logprobs(header, sections, asked, state.payload[targets]) if asked else None
        return self._fetched(step, drawn, logprobs, prompts)

    def _send_starts(self, packed: PackedStarts) -> StartRows:
        arrays = packed.arrays
        sent = self._staging.send_apart(np.concatenate([array.reshape(-1) for array in arrays]))
        parts = sent.split([array.size for array in arrays])
        return StartRows(*(part.view(array.shape) for array, part in zip(arrays, parts, strict=True)))

    def _fetched(
        self, step: Step, drawn: Drawn | None, logprobs: AskedLogprobs | None, prompts: AskedLogprobs | None
    ) -> LaunchedStep:
        """The step's results on their way to the host."""
        both = [each for each in (logprobs, prompts) if each is not None]
        tensors = [drawn.tokens, drawn.status] if drawn else []
        tensors += [tensor for each in both for part in each.parts for tensor in part.tensors]
        fetched, arrived = self._fetch(tensors)
        rest = iter(fetched)
        if drawn:
            drawn = Drawn(next(rest), next(rest))
        logprobs, prompts = (
            each and AskedLogprobs([part.like(rest) for part in each.parts], each.samples, each.counts)
            for each in (logprobs, prompts)
        )
        copied = self._rank.wait_for_copies

        def wait() -> None:
            arrived()
            if copied is not None:
                copied()

        return LaunchedStep(step, drawn, logprobs, prompts, wait)

    def _prompt_logprobs(
        self, header: Header, sections: Sections[Tensor], asked: Sequence[PromptPart], targets: Tensor
    ) -> AskedLogprobs:
        """targets (rows,) int32: the tokens behind the step's prompt rows."""
        most = max(part.count for part in asked)
        tokens_of = targets.long().split(list(header.prompt_rows))
        chunks = zip(self._rank.prompt_logits(header, sections), tokens_of, strict=True)
        return AskedLogprobs(
            [raw_logprobs(logits, tokens, most) for logits, tokens in chunks],
            tuple(part.sample for part in asked for _ in part.targets),
            tuple(part.count for part in asked for _ in part.targets),
        )

    def _prompt_parts(self, step: Step) -> Iterator[PromptPart]:
        ends = accumulate(segment.num_tokens for segment in step.segments)
        for segment, end in zip(step.segments, ends, strict=True):
            seat = self._seats[segment.slot]
            if (count := seat.sampling.prompt_logprobs) is None:
                continue
            targets = seat.prompt[segment.start + 1 : segment.start + 1 + segment.num_tokens]
            if targets:
                yield PromptPart(segment.sample, end - segment.num_tokens, targets, count)

    def _logprobs_of(self, segment: Segment) -> int | None:
        return self._seats[segment.slot].sampling.logprobs
