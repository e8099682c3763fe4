"""The worker's state, a row a slot: who sits there, its last token, its block tables, its counts.

What decides about stages stays on the host; what the device needs every step lives on the device, so that no step waits
for another's result.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pagelet_engine.core.sampling import SamplingParams
from pagelet_engine.core.step import Segment, SlotStart


@dataclass(frozen=True, slots=True)
class Seat:
    """What the host knows of a slot's sample."""

    sampling: SamplingParams
    prompt: tuple[int, ...]
    adapter_slot: int
    bias: tuple[Tensor, Tensor] | None
    """Token ids (entries,) and what is added to their logits."""
    forbidden: Tensor
    """Token ids that may not be drawn before min_tokens."""


class SamplingRows:
    """The sampling parameters of all slots, as columns on the device."""

    def __init__(self, num_slots: int, device: torch.device) -> None:
        def column(dtype: torch.dtype) -> Tensor:
            return torch.zeros(num_slots, dtype=dtype, device=device)

        self.temperature, self.top_p, self.min_p = (column(torch.float32) for _ in range(3))
        self.repetition, self.presence, self.frequency = (column(torch.float32) for _ in range(3))
        self.top_k, self.seed, self.sample_index = (column(torch.int64) for _ in range(3))

    @property
    def of_weights(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """temperature, top_k, top_p, min_p: what becomes of weights before one is drawn."""
        return self.temperature, self.top_k, self.top_p, self.min_p

    def start(self, start: SlotStart, vocab_size: int) -> None:
        slot, sampling = start.slot, start.sampling
        self.temperature[slot], self.top_p[slot], self.min_p[slot] = (
            sampling.temperature,
            sampling.top_p,
            sampling.min_p,
        )
        self.repetition[slot] = sampling.repetition_penalty
        self.presence[slot], self.frequency[slot] = sampling.presence_penalty, sampling.frequency_penalty
        self.top_k[slot] = min(sampling.top_k or vocab_size, vocab_size)
        self.seed[slot] = sampling.seed - (sampling.seed >> 63 << 64)  # the same 64 bits, as torch holds them
        self.sample_index[slot] = start.sample_index


class Slots:
    """`num_slots` rows; `max_blocks` blocks a sample and group at most."""

    def __init__(self, num_slots: int, vocab_size: int, max_blocks: int, num_groups: int, device: torch.device) -> None:
        self.device = device
        self.num_slots, self.vocab_size = num_slots, vocab_size
        self.seats: dict[int, Seat] = {}
        self.sampling = SamplingRows(num_slots, device)
        self.last_token = torch.zeros(num_slots, dtype=torch.int64, device=device)
        self.block_tables = tuple(np.zeros((num_slots, max_blocks), np.int64) for _ in range(num_groups))
        # The memory of these two is touched only by slots with penalties: zeros are free until written.
        self.output_counts = torch.zeros(num_slots, vocab_size, dtype=torch.int32, device=device)
        self.in_prompt = torch.zeros(num_slots, vocab_size, dtype=torch.bool, device=device)

    def start(self, start: SlotStart) -> None:
        """Seat a sample; whoever had the slot is forgotten. Old table entries stay, and are never followed."""
        sampling, slot = start.sampling, start.slot
        bias = None
        if sampling.logit_bias:
            values = torch.tensor(list(sampling.logit_bias.values()), dtype=torch.float32, device=self.device)
            bias = self._tokens(sampling.logit_bias), values
        forbidden = self._tokens(sampling.stop_token_ids if sampling.min_tokens else ())
        self.seats[slot] = Seat(sampling, start.prompt, start.adapter_slot, bias, forbidden)
        self.sampling.start(start, self.vocab_size)
        if sampling.has_penalties:
            self.in_prompt[slot] = False
            self.in_prompt[slot, self._tokens(start.prompt)] = True
            self.output_counts[slot] = torch.bincount(self._tokens(start.output), minlength=self.vocab_size)

    def update_tables(self, segment: Segment) -> None:
        for update in segment.table_updates:
            self.block_tables[update.group][segment.slot, update.index] = update.block

    def note_drawn(self, slots: list[int], tokens: Tensor) -> None:
        """Remember tokens (rows,), drawn for these slots: as the last ones, and in the counts that penalties want."""
        self.last_token[torch.tensor(slots, device=self.device)] = tokens
        counting = [row for row, slot in enumerate(slots) if self.seats[slot].sampling.has_penalties]
        if counting:
            rows = torch.tensor([slots[row] for row in counting], device=self.device)
            self.output_counts[rows, tokens[torch.tensor(counting, device=self.device)]] += 1

    def _tokens(self, ids: Iterable[int]) -> Tensor:
        return torch.tensor(list(ids), dtype=torch.int64, device=self.device)
