"""x·Wᵀ in FP8 (W8A8): weights held in e4m3 with a scale an output channel, activations quantised a token at a time.

e4m3 is 1 sign, 4 exponent and 3 fraction bits (Micikevicius et al. 2022): a number is off by at most 1/16 of itself,
down to 2⁻⁶ of a row's scale. Nothing is calibrated: a row's largest number becomes e4m3's largest.
"""

import torch
from torch import Tensor

FP8_DTYPE = torch.float8_e4m3fn
FP8_MAX = 448.0
SMALLEST_AMAX = 1e-12
"""A row of zeros has a scale too."""


def quantize_rows(x: Tensor) -> tuple[Tensor, Tensor]:
    """x (rows, in) → (e4m3 (rows, in), scales (rows,) fp32) with x ≈ e4m3 · scale, scale = max|x| / 448.

    Rows are tokens of activations, or output channels of weights. A row with NaN or infinity becomes NaN in a product.
    """
    wide = x.float()
    scales = wide.abs().amax(1).clamp(min=SMALLEST_AMAX) / FP8_MAX
    return (wide / scales[:, None]).to(FP8_DTYPE), scales


def fp8_linear(
    x: Tensor, weight: Tensor, scales: Tensor, bias: Tensor | None = None, residual: Tensor | None = None
) -> Tensor:
    """x (tokens, in), weight (out, in) e4m3 with scales (out,) fp32 (`quantize_rows`), bias (out,), residual (tokens,
    out) → (tokens, out) in x's dtype: the product of what both sides are once quantised, summed in fp32."""
    return multiply(*quantize_rows(x), weight, scales, x.dtype, bias, residual)


def multiply(
    x: Tensor,
    x_scales: Tensor,
    weight: Tensor,
    scales: Tensor,
    dtype: torch.dtype,
    bias: Tensor | None,
    residual: Tensor | None,
) -> Tensor:
    """x (tokens, in) and weight (out, in) in e4m3, with their scales (tokens,) and (out,) → (tokens, out) in dtype."""
    product = (x.float() @ weight.float().t()) * x_scales[:, None] * scales
    if bias is not None:
        product += bias
    product = product.to(dtype)
    return product if residual is None else product.add_(residual)
