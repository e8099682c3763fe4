"""Steps in which nobody has a part, computed before the first real one: to measure the memory of the largest, and to
have every kernel compiled that a step may launch.

Writes nothing to the cache that is ever read, and reads its first block only.
"""

from dataclasses import dataclass, replace
from itertools import product

import torch

from pagelet_engine.core.sampling import SamplingParams
from pagelet_engine.core.step import BlockCopy, SlotStart, Tier
from pagelet_engine.kernels.sampling_table import SamplingTable, StartRows
from pagelet_engine.models.registry import Model
from pagelet_engine.worker.device.execution import Forward, SlotState
from pagelet_engine.worker.device.header import Header
from pagelet_engine.worker.device.packed_starts import PackedStarts
from pagelet_engine.worker.device.packing import PADDING
from pagelet_engine.worker.device.sampling import Ops
from pagelet_engine.worker.device.sections import cut
from pagelet_engine.worker.logprobs import raw_logprobs

MOST_LOGPROBS = 20
"""Alternatives that a request may ask for."""


def padding_header(num_tokens: int, num_seqs: int, max_context: int, num_groups: int, *, graph: bool = False) -> Header:
    """Of a step of this size in which nobody has a part."""
    return Header(
        step=0,
        num_tokens=num_tokens,
        num_seqs=num_seqs,
        num_decodes=num_seqs if graph or num_tokens == 1 else 0,
        num_draws=0,
        graph=graph,
        longest_query=1 if graph else num_tokens,
        longest_context=max_context,
        updates=(0,) * num_groups,
    )


def copying_header(num_groups: int) -> Header:
    """Of a step that copies the first block of each group over itself."""
    copies = tuple(BlockCopy(group, Tier.DEVICE, 0, Tier.DEVICE, 0) for group in range(num_groups))
    return replace(padding_header(0, 0, 0, num_groups), copies=copies)


def pad(state: SlotState, header: Header) -> None:
    """Make the state's payload that of nobody: nothing is written to the cache, and nothing of it is read."""
    state.payload.zero_()
    cut(state.payload, header).token_slots.fill_(PADDING)


@dataclass(frozen=True, slots=True)
class Rehearsal:
    model: Model
    forward: Forward
    state: SlotState
    max_tokens: int
    max_seqs: int
    max_prompt_rows: int
    """Of a prompt's logits at once."""
    max_len: int
    ops: Ops
    table: SamplingTable | None
    """None on ranks that draw nothing."""

    @torch.inference_mode()
    def largest_step(self) -> None:
        """As many tokens as may be in a step, of prompts, and as many draws, through every stage of the sampler; then
        log probabilities of as many of the prompts' tokens as are made at once, beside the draws' logits."""
        length = min(self.max_tokens, self.max_len)
        num_seqs = -(-self.max_tokens // length)
        header = padding_header(self.max_tokens, num_seqs, self.max_len, len(self.state.block_tables))
        pad(self.state, header)
        sections = cut(self.state.payload, header)
        device = self.state.payload.device
        ends = torch.arange(num_seqs + 1, dtype=torch.int32, device=device) * length
        sections.cu_query_lens.copy_(ends.clamp(max=self.max_tokens))
        sections.seq_lens.copy_(sections.cu_query_lens.diff())
        hidden = self.forward(header)
        rows = torch.arange(self.max_seqs, dtype=torch.int32, device=device)
        logits = self.model.logits(hidden.index_select(0, rows.clamp(max=self.max_tokens - 1)))
        if self.table is not None:
            self.ops.sample(logits, rows, rows, self.table, any_edited=True, any_random=True, any_filtered=True)
        rows = torch.arange(self.max_prompt_rows, dtype=torch.int32, device=device)
        prompt = self.model.logits(hidden.index_select(0, rows))
        if self.table is not None:
            raw_logprobs(prompt, torch.zeros_like(rows, dtype=torch.int64), MOST_LOGPROBS)

    @torch.inference_mode()
    def every_launch(self) -> None:
        """Each kernel once in every form in which a step may launch it; what graphs launch aside."""
        self.largest_step()
        length = 1  # tiles of attention and of experts are another choice at each doubling, at most
        while length <= self.max_tokens:
            header = padding_header(length, 1, self.max_len, len(self.state.block_tables))
            pad(self.state, header)
            hidden = self.forward(header)
            length *= 2
        logits = self.model.logits(hidden[:1])
        if self.table is not None:
            self._draw(logits, self.table)

    def _draw(self, logits: torch.Tensor, table: SamplingTable) -> None:
        """Slot 0 takes a sample with every wish; whoever is the first to sit there forgets it."""
        sampling = SamplingParams(
            repetition_penalty=2.0, logit_bias={0: 1.0}, min_tokens=1, stop_token_ids=frozenset((0,))
        )
        packed = PackedStarts.of([SlotStart(0, 0, sampling, (0,), (0,))], table.vocab_size)
        device = self.state.payload.device
        self.ops.start_rows(table, StartRows(*(torch.from_numpy(array).to(device) for array in packed.arrays)))
        slots = torch.zeros(1, dtype=torch.int32, device=device)
        for edited, random, filtered in product((False, True), repeat=3):
            tokens, _ = self.ops.sample(
                logits, slots, slots, table, any_edited=edited, any_random=random, any_filtered=filtered
            )
        for penalised in (False, True):
            self.ops.note_drawn(tokens, slots, self.state.last_token, table, any_penalised=penalised)
