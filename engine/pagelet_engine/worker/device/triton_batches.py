"""A step's payload as the Triton backend sees it."""

from torch import Tensor

from pagelet_engine.layers.triton import TritonBatch, TritonGroup
from pagelet_engine.worker.device.execution import SlotState
from pagelet_engine.worker.device.header import Header
from pagelet_engine.worker.device.sections import Sections
from pagelet_engine.worker.kv_pool import KvPool


class TritonBatches:
    """Implements `execution.Batches`: views of the payload, wherever it is."""

    def __init__(self, pool: KvPool, state: SlotState) -> None:
        self._groups = tuple(map(TritonGroup, pool.pages, pool.scales, state.block_tables))

    def batch(self, header: Header, sections: Sections[Tensor], token_ids: Tensor) -> TritonBatch:
        num_decodes = header.num_decodes
        chunk_cu_query_lens = sections.cu_query_lens[num_decodes:]
        if 0 < num_decodes < header.num_seqs:  # else they begin at 0, or are nobody's
            chunk_cu_query_lens = chunk_cu_query_lens - num_decodes
        return TritonBatch(
            token_ids=token_ids,
            positions=sections.positions,
            token_slots=sections.token_slots,
            cu_query_lens=sections.cu_query_lens,
            seq_lens=sections.seq_lens,
            seq_slots=sections.seq_slots,
            adapter_slots=sections.adapter_slots,
            groups=self._groups,
            num_decodes=num_decodes,
            chunk_cu_query_lens=chunk_cu_query_lens,
            longest_query=header.longest_query,
            longest_context=header.longest_context,
        )
