"""x·Wᵀ in FP8 (W8A8): activations are quantised by a kernel here, and the product is the library's.

The formats are those of the reference. Only e4m3fn is held: gfx942's FP8 units take another e4m3 (e4m3fnuz: half the
range, no negative zero), and refuse it; later AMD GPUs take it.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from pagelet_engine.kernels.reference import fp8_linear as reference


def fp8_linear(
    x: Tensor, weight: Tensor, scales: Tensor, bias: Tensor | None = None, residual: Tensor | None = None
) -> Tensor:
    """x (tokens, in), weight (out, in) e4m3 with scales (out,) fp32 (`quantize_rows`), bias (out,), residual (tokens,
    out) → (tokens, out) in x's dtype, for layers that `why_not` has nothing against.

    Sums are fp32 through and through: FP8 tensor cores keep about 14 bits of a running sum unless told otherwise
    (`use_fast_accum`), which costs long sums about as much as the quantisation does.
    """
    quantized, x_scales = quantize_rows(x)
    if not x.is_cuda:
        return reference.multiply(quantized, x_scales, weight, scales, x.dtype, bias, residual)
    product = torch._scaled_mm(
        quantized,
        weight.t(),  # column-major, as the library wants it
        scale_a=x_scales[:, None],
        scale_b=scales[None],
        out_dtype=x.dtype,
        use_fast_accum=False,
    )
    if bias is not None:  # the library takes one with row-wise scales on some GPUs only
        product.add_(bias)
    return product if residual is None else product.add_(residual)


def quantize_rows(x: Tensor) -> tuple[Tensor, Tensor]:
    """x (rows, in) → (e4m3 (rows, in), scales (rows,) fp32) with x ≈ e4m3 · scale, scale = max|x| / 448.

    One program a row, which it reads twice, the second time from cache. Rows are tokens of activations, or output
    channels of weights. A row with NaN or infinity becomes NaN in a product, and no other row knows of it.
    """
    rows, in_features = x.shape
    assert x.stride(1) == 1, "the rows of x are contiguous"
    quantized = torch.empty(rows, in_features, dtype=reference.FP8_DTYPE, device=x.device)
    scales = torch.empty(rows, dtype=torch.float32, device=x.device)
    block = min(4096, triton.next_power_of_2(in_features))
    _quantize_rows[(rows,)](
        x,
        quantized,
        scales,
        x.stride(0),
        FP8_MAX=reference.FP8_MAX,
        SMALLEST_AMAX=reference.SMALLEST_AMAX,
        IN=in_features,
        BLOCK=block,
        num_warps=max(1, min(8, block // 256)),
        enable_fp_fusion=True,
    )
    return quantized, scales


def why_not(out_features: int, in_features: int, dtype: torch.dtype, device: torch.device) -> str | None:
    """Why this rank's share of a layer cannot be held in FP8 there, and what to do; None: it can."""
    if dtype != torch.bfloat16:
        return f"fp8 computes in bfloat16, and the model's dtype is {str(dtype).removeprefix('torch.')}; set bfloat16"
    if out_features % 16 or in_features % 16:
        return (
            f"fp8 takes layers whose inputs and outputs are multiples of 16, and one has {in_features} inputs and "
            f"{out_features} outputs; set quantization: none"
        )
    if device.type != "cuda":
        return None
    gpu = torch.cuda.get_device_properties(device)
    if torch.version.hip:
        architecture = gpu.gcnArchName.partition(":")[0]
        if architecture < "gfx950":
            return (
                f"{gpu.name} ({architecture}) has no FP8 units that take e4m3fn, and fp8 needs them (gfx950 has them)"
            )
    elif (gpu.major, gpu.minor) < (8, 9):
        return f"{gpu.name} has no FP8 units, and fp8 needs them (compute capability 8.9 or later has them)"
    return None


@triton.jit
def _quantize_rows(
    x,  # (rows, IN)
    quantized,  # (rows, IN)
    scales,  # (rows,)
    x_stride,
    FP8_MAX: tl.constexpr,
    SMALLEST_AMAX: tl.constexpr,
    IN: tl.constexpr,
    BLOCK: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    x += row * x_stride
    quantized += row * IN
    column = tl.arange(0, BLOCK)
    largest = tl.full((BLOCK,), SMALLEST_AMAX, dtype=tl.float32)
    for first in range(0, IN, BLOCK):
        number = tl.load(x + first + column, mask=first + column < IN, other=0).to(tl.float32)
        largest = tl.maximum(largest, tl.abs(number))
    scale = tl.div_rn(tl.max(largest), FP8_MAX)
    tl.store(scales + row, scale)
    for first in range(0, IN, BLOCK):
        number = tl.load(x + first + column, mask=first + column < IN, other=0).to(tl.float32)
        # Rounded as the reference rounds: the same bits, but for an approximate division.
        at = quantized + first + column
        tl.store(at, tl.div_rn(number, scale).to(quantized.dtype.element_ty), mask=first + column < IN)
