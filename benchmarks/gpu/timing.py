"""How long a call takes on the GPU, and how much of what the GPU can do that is.

Owns the clock (CUDA events around a captured graph, so that no host time is in it), cold caches (calls that rotate
through more memory than L2 holds), the peaks of known devices, and the row that every measurement ends in. Refuses to
know what is measured. Importing it needs no GPU; measuring does.
"""

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self

import torch

_GRAPH_S = 2e-3  # of work in one graph: the clock ticks in half microseconds
_MOST_CALLS = 400
_REPLAYS = 11


@dataclass(frozen=True, slots=True)
class Peaks:
    """What a device can do at most."""

    bytes_per_s: float
    """From its own memory."""
    bf16_flop_per_s: float
    """Dense."""
    fp8_flop_per_s: float | None
    """Dense; None where it has no FP8 units, or nobody measured them."""
    source: str


_SHEET = "data sheet"

PEAKS = {
    "A100-SXM4-40GB": Peaks(1.555e12, 312e12, None, _SHEET),
    "A100-SXM4-80GB": Peaks(2.039e12, 312e12, None, _SHEET),
    "A100 80GB PCIe": Peaks(1.935e12, 312e12, None, _SHEET),
    "L40S": Peaks(0.864e12, 362e12, 733e12, _SHEET),
    "H100 80GB HBM3": Peaks(3.35e12, 989e12, 1979e12, _SHEET),
    "H100 PCIe": Peaks(2.0e12, 756e12, 1513e12, _SHEET),
    "H100 NVL": Peaks(3.9e12, 835e12, 1671e12, _SHEET),
    "H200": Peaks(4.8e12, 989e12, 1979e12, _SHEET),
    "B200": Peaks(8.0e12, 2250e12, 4500e12, _SHEET),
    "MI300X": Peaks(5.3e12, 1307e12, 2615e12, _SHEET),
}
"""By a part of the device's name. A GH200 and a slice of a GPU are other devices, and are measured."""


@dataclass(frozen=True, slots=True)
class Row:
    """One op at one shape."""

    op: str
    case: str
    seconds: float
    share: float
    """Of `limit`, 1 being all of it."""
    limit: str
    beside: Mapping[str, float] = field(default_factory=dict)
    """Seconds that others take for the same, by name."""

    @classmethod
    def of_bytes(cls, op: str, case: str, seconds: float, num_bytes: int, peaks: Peaks, **beside: float) -> Self:
        """An op that must move this many bytes from and to the device's memory."""
        return cls(op, case, seconds, num_bytes / seconds / peaks.bytes_per_s, "HBM bandwidth", beside)

    @classmethod
    def of_flop(cls, op: str, case: str, seconds: float, flop: float, peak_flop_per_s: float, **beside: float) -> Self:
        """An op that must multiply and add so often."""
        return cls(op, case, seconds, flop / seconds / peak_flop_per_s, "peak FLOP/s", beside)


def device_peaks() -> Peaks:
    """Of the current device: by its name, else measured with a copy and a product, which says less than a sheet."""
    device = torch.cuda.get_device_properties()
    sliced = " MIG " in device.name or "GH200" in device.name
    found = [peaks for name, peaks in PEAKS.items() if name in device.name and not sliced]
    return found[0] if found else _measured_peaks()


def rotation(bytes_a_call: int) -> int:
    """How many sets of operands make every call find L2 cold, when each touches this many bytes."""
    l2_bytes: int = torch.cuda.get_device_properties().L2_cache_size
    return min(1 + 3 * l2_bytes // max(1, bytes_a_call), _MOST_CALLS)


def seconds_a_call(calls: Sequence[Callable[[], object]]) -> float:
    """The median time of one of these calls: the same op, each with operands of its own (`rotation`).

    They are captured in one graph, over and over until it runs for a while, so a call may wait for nothing on the host.
    """
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        _run(calls)  # compiles kernels, and makes libraries take their workspaces
        began, ended = _events()
        began.record()
        _run(calls)
        ended.record()
        stream.synchronize()
        pass_s = began.elapsed_time(ended) / 1e3
        rounds = max(1, min(round(_GRAPH_S / pass_s), _MOST_CALLS // len(calls)))
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for _ in range(rounds):
            _run(calls)
    graph_s = []
    for _ in range(_REPLAYS):
        began, ended = _events()
        graph.replay()  # while it runs, the host enqueues what is measured
        began.record()
        graph.replay()
        ended.record()
        torch.cuda.synchronize()
        graph_s.append(began.elapsed_time(ended) / 1e3)
    return statistics.median(graph_s) / (rounds * len(calls))


def _run(calls: Sequence[Callable[[], object]]) -> None:
    for call in calls:
        call()


def _events() -> tuple[torch.cuda.Event, torch.cuda.Event]:
    return torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)


def _measured_peaks() -> Peaks:
    source, destination = torch.empty(2, 1 << 29, dtype=torch.uint8, device="cuda")
    copy_s = seconds_a_call([lambda: destination.copy_(source)])
    a, b = torch.randn(2, 8192, 8192, dtype=torch.bfloat16, device="cuda")
    product_s = seconds_a_call([lambda: a @ b])
    return Peaks(2 * source.numel() / copy_s, 2 * 8192**3 / product_s, None, "measured: a copy and a product")
