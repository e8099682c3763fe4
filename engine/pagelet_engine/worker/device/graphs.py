"""Steps of one token a sequence, captured once for a short list of sizes and replayed as one launch.

A graph reads the payload where it always lies, and writes where it wrote when it was captured; a step of fewer
sequences is padded. How launches are captured and replayed is the recorder's affair: CUDA's is in cuda.py.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

from torch import Tensor

from pagelet_engine.worker.device.execution import Forward, SlotState
from pagelet_engine.worker.device.header import Header
from pagelet_engine.worker.device.rehearsal import pad, padding_header

_SMALL = (1, 2, 4, 8, 16, 24, 32, 48, 64)
_STRIDE = 32
"""Beyond the small ones: padding is at most a third of a step there, and a graph takes memory, and time to capture."""

Replay = Callable[[], Tensor]


class Recorder(Protocol):
    def record(self, launch: Replay) -> Replay:
        """Capture what `launch` launches; → launches it again, into the same memory."""
        ...


def graph_sizes(max_num_seqs: int) -> tuple[int, ...]:
    """Numbers of sequences worth a graph, ascending; the last one is all that may sit."""
    small = [size for size in _SMALL if size < max_num_seqs]
    large = range(_SMALL[-1] + _STRIDE, max_num_seqs, _STRIDE)
    return (*small, *large, max_num_seqs)


class Graphs:
    """Implements `execution.Forward` for the sizes that were captured."""

    def __init__(
        self, eager: Forward, recorder: Recorder, state: SlotState, sizes: Sequence[int], max_context: int
    ) -> None:
        """Capture them, the largest first: the others then fit into its memory. All ranks capture in this order."""
        self._replay: dict[int, Replay] = {}
        for size in sorted(sizes, reverse=True):
            header = padding_header(size, size, max_context, len(state.block_tables), graph=True)
            pad(state, header)

            def launch(header: Header = header) -> Tensor:
                return eager(header)

            self._replay[size] = recorder.record(launch)

    def __call__(self, header: Header) -> Tensor:
        return self._replay[header.num_seqs]()
