"""Executes steps one after the other, each when it is submitted."""

from collections.abc import Sequence
from itertools import accumulate

import torch
from torch import Tensor

from pagelet_engine.core.step import Segment, Step, StepHandle
from pagelet_engine.worker.kv_pool import KvPool
from pagelet_engine.worker.local.draw import Draw
from pagelet_engine.worker.local.execution import Execution
from pagelet_engine.worker.local.prompt_logprobs import prompt_logprobs
from pagelet_engine.worker.local.sampler import sample
from pagelet_engine.worker.local.slots import Slots
from pagelet_engine.worker.results import AskedLogprobs, Drawn, FailedStep, LaunchedStep


class LocalWorker:
    """Implements `core.step.Worker` on a CPU: submit returns when the step is done."""

    def __init__(self, execution: Execution, pool: KvPool, slots: Slots) -> None:
        self._execution, self._pool, self._slots = execution, pool, slots

    def submit(self, step: Step) -> StepHandle:
        """Whatever fails is raised by the handle's result(), as StepError."""
        try:
            with torch.inference_mode():
                return self._execute(step)
        except Exception as error:
            return FailedStep(step.number, error)

    def _execute(self, step: Step) -> StepHandle:
        slots = self._slots
        for start in step.starts:
            slots.start(start)
        self._pool.copy(step.copies)
        for segment in step.segments:
            if segment.table_updates:
                slots.update_tables(segment)
        if not step.segments:
            return LaunchedStep(step, None, None, None)
        ends = list(accumulate(segment.num_tokens for segment in step.segments))
        drawing = [
            (segment, end - 1) for segment, end in zip(step.segments, ends, strict=True) if segment.samples_token
        ]
        draws = [Draw(segment.slot, segment.start + segment.num_tokens) for segment, _ in drawing]
        wants_logits = any(draw.wants_logits(slots) for draw in draws)
        self._execution.run(step.segments, [row for _, row in drawing], wants_logits)

        drawn, logprobs = None, None
        if drawing:
            drawn = self._draw(draws) if wants_logits else self._execution.likeliest()
            slots.note_drawn([draw.slot for draw in draws], drawn.tokens)
            if wants_logits:
                logprobs = self._logprobs([segment for segment, _ in drawing], self._execution.logits(), drawn)
        prompts = [
            asked
            for segment, end in zip(step.segments, ends, strict=True)
            if (asked := self._prompt_logprobs(segment, end - segment.num_tokens))
        ]
        return LaunchedStep(step, drawn, logprobs, AskedLogprobs.joined(prompts) if prompts else None)

    def _draw(self, draws: Sequence[Draw]) -> Drawn:
        execution = self._execution
        return sample(execution.logits(), execution.likeliest(), draws, self._slots, execution.sampling)

    def _prompt_logprobs(self, segment: Segment, first_row: int) -> AskedLogprobs | None:
        """Of a segment whose tokens are the step's from `first_row` on: each speaks about the prompt's token behind
        it."""
        seat = self._slots.seats[segment.slot]
        count = seat.sampling.prompt_logprobs
        if count is None:
            return None
        targets = seat.prompt[segment.start + 1 : segment.start + 1 + segment.num_tokens]
        if not targets:
            return None
        rows = range(first_row, first_row + len(targets))
        return AskedLogprobs(
            prompt_logprobs(rows, targets, count, self._execution),
            (segment.sample,) * len(targets),
            (count,) * len(targets),
        )

    def _logprobs(self, drawing: Sequence[Segment], logits: Tensor, drawn: Drawn) -> AskedLogprobs | None:
        """Of the drawn tokens, a row of logits each, for the samples that want them."""
        wanted = [self._slots.seats[segment.slot].sampling.logprobs for segment in drawing]
        asked = [(row, count) for row, count in enumerate(wanted) if count is not None]
        if not asked:
            return None
        rows = torch.tensor([row for row, _ in asked], device=logits.device)
        most = max(count for _, count in asked)
        raw = self._execution.sampling.logprobs(logits[rows], drawn.tokens[rows], most)
        return AskedLogprobs([raw], tuple(drawing[row].sample for row, _ in asked), tuple(count for _, count in asked))
