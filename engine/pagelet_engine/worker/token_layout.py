"""Where a step's tokens are, in their sequences and in the cache, as the reference backend wants to know it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from pagelet_engine.kernels.reference.paged_attention import IntArray, plan_attention
from pagelet_engine.layers.reference import GroupBatch
from pagelet_engine.worker.kv_pool import KvPool


@dataclass(frozen=True, slots=True)
class TokenLayout:
    """Where a step's tokens are: in their sequences, and in the cache. One sequence after the other."""

    positions: IntArray
    """(tokens,) each token's place in its own sequence."""
    token_slots: IntArray
    """(tokens,) each token's slot."""
    cu_query_lens: IntArray
    """(seqs + 1,)"""
    seq_lens: IntArray
    """(seqs,) tokens in the cache after this step."""
    seq_slots: IntArray
    """(seqs,)"""

    def groups(self, block_tables: Sequence[IntArray], pool: KvPool) -> tuple[GroupBatch, ...]:
        """block_tables (slots, blocks), by KV group."""
        groups = []
        num_blocks = -(-int(self.seq_lens.max()) // pool.block_size)
        for number, (group, table) in enumerate(zip(pool.groups, block_tables, strict=True)):
            page_rows = pool.page_rows(number)
            block = table[self.token_slots, self.positions // pool.block_size].astype(np.int64)
            plan = plan_attention(
                self.cu_query_lens,
                self.seq_lens,
                table[self.seq_slots, :num_blocks],
                block_size=pool.block_size,
                page_rows=page_rows,
                window=group.window,
                device=pool.device,
            )
            rows = torch.from_numpy(block * page_rows + self.positions % pool.block_size).to(pool.device)
            groups.append(GroupBatch(pool.layer_rows(number), rows, plan))
        return tuple(groups)
