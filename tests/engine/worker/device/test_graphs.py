"""Which sizes are captured, in which order, and which one a step replays."""

import torch
from hypothesis import given
from hypothesis import strategies as st
from pagelet_engine.worker.device.execution import SlotState
from pagelet_engine.worker.device.graphs import Graphs, graph_sizes
from pagelet_engine.worker.device.header import Header
from pagelet_engine.worker.device.rehearsal import padding_header
from pagelet_engine.worker.device.sections import cut


@given(st.integers(1, 1024))
def test_every_batch_has_a_graph_and_padding_is_bounded(max_num_seqs):
    sizes = graph_sizes(max_num_seqs)
    assert list(sizes) == sorted(set(sizes))
    assert sizes[-1] == max_num_seqs
    for count in range(1, max_num_seqs + 1):
        size = next(size for size in sizes if size >= count)
        assert size - count < max(1, count)
    assert len(sizes) <= 10 + max_num_seqs // 32


class Recorder:
    """Captures by noting down, replays by launching again."""

    def __init__(self) -> None:
        self.recorded = 0

    def record(self, launch):
        self.recorded += 1
        launch()
        return launch


def test_the_largest_is_captured_first_and_reads_padding_only():
    state = SlotState.new(8, 4, 2, 512, torch.device("cpu"))
    seen: list[int] = []

    def eager(header: Header) -> torch.Tensor:
        sections = cut(state.payload, header)
        if recorder.recorded == len(seen) + 1:
            assert sections.token_slots.eq(-1).all()
            assert sections.cu_query_lens.eq(0).all()
        seen.append(header.num_seqs)
        return torch.zeros(header.num_tokens, 3)

    state.payload.fill_(9)
    recorder = Recorder()
    graphs = Graphs(eager, recorder, state, (1, 2, 8), 64)
    assert (recorder.recorded, seen) == (3, [8, 2, 1])
    assert graphs(padding_header(2, 2, 64, 2, graph=True)).shape == (2, 3)
    assert seen[-1] == 2
