"""The sampler's heavy ops, which walk whole vocabularies: what it asks for, and the two that do it."""

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from pagelet_engine.kernels.cpu import sampling as native_sampling
from pagelet_engine.kernels.cpu.library import NativeBackend
from pagelet_engine.kernels.cpu.sampling import DrawSettings
from pagelet_engine.kernels.reference.philox import uniform
from pagelet_engine.worker.local.draw import Draw
from pagelet_engine.worker.local.random_draw import draw_random
from pagelet_engine.worker.local.slots import Slots
from pagelet_engine.worker.logprobs import RawLogprobs, raw_logprobs
from pagelet_engine.worker.results import Drawn


class SamplingOps(Protocol):
    def draw(self, logits: Tensor, rows: Sequence[int], draws: Sequence[Draw], slots: Slots) -> Drawn:
        """A random token for each of these rows of logits (…, vocab), which stay as they are: temperature, filters, and
        the number that seed, sample and position give; NON_FINITE where the largest is not a number."""
        ...

    def logprobs(self, logits: Tensor, tokens: Tensor, most: int) -> RawLogprobs:
        """Of logits (rows, vocab) as the model made them and a token a row (rows,); most: alternatives wanted."""
        ...


class TorchSampling:
    """In torch, on any device."""

    def draw(self, logits: Tensor, rows: Sequence[int], draws: Sequence[Draw], slots: Slots) -> Drawn:
        return draw_random(logits.index_select(0, torch.tensor(rows, device=logits.device)), draws, slots)

    def logprobs(self, logits: Tensor, tokens: Tensor, most: int) -> RawLogprobs:
        return raw_logprobs(logits, tokens, most)


class NativeSampling:
    """In C++, on a CPU."""

    def __init__(self, native: NativeBackend) -> None:
        self._native = native

    def draw(self, logits: Tensor, rows: Sequence[int], draws: Sequence[Draw], slots: Slots) -> Drawn:
        columns, slot = slots.sampling, torch.tensor([draw.slot for draw in draws])
        position = torch.tensor([draw.position for draw in draws])
        numbers = uniform(columns.seed[slot], columns.sample_index[slot], position).tolist()
        settings = map(DrawSettings, numbers, *(each[slot].tolist() for each in columns.of_weights))
        tokens, is_finite = native_sampling.draw(self._native, logits, rows, list(settings))
        return Drawn(torch.tensor(tokens), torch.tensor(is_finite, dtype=torch.uint8))

    def logprobs(self, logits: Tensor, tokens: Tensor, most: int) -> RawLogprobs:
        facts = native_sampling.row_facts(self._native, logits, tokens.tolist(), most)
        return RawLogprobs(
            tokens,
            facts.token_logits - facts.log_sum_exp,
            facts.ranks,
            facts.top_tokens,
            facts.top_logits - facts.log_sum_exp[:, None],
        )
