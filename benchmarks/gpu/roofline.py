"""The least time that a device needs for the steps it was given: the formula of the CPU's benchmark (`cpu.floor`),

    floor of a step = max(its FLOPs ÷ the peak, its bytes ÷ the memory's bandwidth), summed over the steps

at the device's own peaks. Of a step's bytes, weights are read once, and keys and values once a sequence.
"""

from collections.abc import Iterable

from cpu.floor import Rates, Work, floor_s, work_of
from cpu.steps import Span, StepSpans
from gpu.step_log import Share
from gpu.timing import Peaks
from pagelet_api.sizes import ModelShape


def works(steps: Iterable[tuple[Share, ...]], shape: ModelShape, dtype: str, quantization: str) -> list[Work]:
    return [work_of(_spans(shares), shape, dtype, quantization, shape.max_position) for shares in steps]


def least_s(work: Iterable[Work], peaks: Peaks, quantization: str = "none") -> float:
    """Products in FP8 are measured by FP8's peak; all else in such a step is small beside them."""
    in_fp8 = quantization == "fp8" and peaks.fp8_flop_per_s is not None
    flop_per_s = peaks.fp8_flop_per_s if in_fp8 else peaks.bf16_flop_per_s
    assert flop_per_s is not None
    return floor_s(work, Rates(flop_per_s, peaks.bytes_per_s))


def _spans(shares: tuple[Share, ...]) -> StepSpans:
    """Random prompts share nothing, so that all of a sequence counts as one block, as long as any can be."""
    return tuple(Span(start, num_tokens, (slot,) if start else (), draws) for slot, start, num_tokens, draws in shares)
