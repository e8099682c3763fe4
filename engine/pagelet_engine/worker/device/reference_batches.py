"""A step's payload as the reference backend sees it."""

import numpy as np
import numpy.typing as npt
from torch import Tensor

from pagelet_engine.layers.reference import ReferenceBatch
from pagelet_engine.worker.device.execution import SlotState
from pagelet_engine.worker.device.header import Header
from pagelet_engine.worker.device.sections import Sections
from pagelet_engine.worker.kv_pool import KvPool
from pagelet_engine.worker.token_layout import TokenLayout


class ReferenceBatches:
    """Implements `execution.Batches` on a CPU, whose payload the host can read."""

    def __init__(self, pool: KvPool, state: SlotState) -> None:
        self._pool = pool
        self._tables = [table.numpy() for table in state.block_tables]

    def batch(self, header: Header, sections: Sections[Tensor], token_ids: Tensor) -> ReferenceBatch:
        layout = TokenLayout(
            _wide(sections.positions),
            _wide(sections.token_slots),
            _wide(sections.cu_query_lens),
            _wide(sections.seq_lens),
            _wide(sections.seq_slots),
        )
        query_lens = sections.cu_query_lens.diff()
        return ReferenceBatch(
            token_ids=token_ids.long(),
            positions=sections.positions.long(),
            adapter_slots=sections.adapter_slots.long().repeat_interleave(query_lens),
            groups=layout.groups(self._tables, self._pool),
        )


def _wide(section: Tensor) -> npt.NDArray[np.int64]:
    return section.numpy().astype(np.int64)
