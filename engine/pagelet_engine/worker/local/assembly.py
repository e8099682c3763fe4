"""From a step's segments to the flat tensors that the reference backend takes."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from pagelet_engine.core.step import Segment
from pagelet_engine.kernels.reference.paged_attention import IntArray
from pagelet_engine.layers.reference import ReferenceBatch
from pagelet_engine.worker.kv_pool import KvPool
from pagelet_engine.worker.local.slots import Slots
from pagelet_engine.worker.token_layout import TokenLayout


def assemble(segments: Sequence[Segment], slots: Slots, pool: KvPool) -> ReferenceBatch:
    """Lay the segments' tokens one after the other, in their order. Block tables must be up to date."""
    device = slots.device
    slot = np.array([segment.slot for segment in segments])
    start = np.array([segment.start for segment in segments])
    lengths = np.array([segment.num_tokens for segment in segments])
    cu_query_lens = np.concatenate(([0], np.cumsum(lengths)))
    seq_of_token = np.repeat(np.arange(len(segments)), lengths)
    positions = np.arange(cu_query_lens[-1]) + (start - cu_query_lens[:-1])[seq_of_token]
    adapters = np.array([slots.seats[segment.slot].adapter_slot for segment in segments])[seq_of_token]
    layout = TokenLayout(positions, slot[seq_of_token], cu_query_lens, start + lengths, slot)
    return ReferenceBatch(
        token_ids=_token_ids(segments, cu_query_lens, slots),
        positions=torch.from_numpy(positions).to(device),
        adapter_slots=torch.from_numpy(adapters).to(device),
        groups=layout.groups(slots.block_tables, pool),
    )


def _token_ids(segments: Sequence[Segment], cu_query_lens: IntArray, slots: Slots) -> Tensor:
    """(tokens,): those that the step names, and each slot's last one where it names none."""
    known = [token for segment in segments for token in segment.tokens or (0,)]
    token_ids = torch.tensor(known, dtype=torch.int64).to(slots.device)
    following = [index for index, segment in enumerate(segments) if not segment.tokens]
    if following:
        rows = torch.from_numpy(cu_query_lens[following]).to(slots.device)
        last = torch.tensor([segments[index].slot for index in following], device=slots.device)
        token_ids[rows] = slots.last_token[last]
    return token_ids
