"""Logits against exact products summed in float64."""

import pytest
import torch
from pagelet_engine.kernels.triton.head_logits import head_logits


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize(("rows", "hidden", "vocab"), [(1, 64, 1), (3, 576, 5000), (2, 4096, 304)])
def test_logits_are_fp32_sums_of_exact_products(generator, device, rows, hidden, vocab, dtype):
    x = torch.randn(rows, hidden, generator=generator).to(device, dtype)
    weight = torch.randn(vocab, hidden, generator=generator).to(device, dtype)
    logits = head_logits(x, weight)
    assert logits.dtype == torch.float32
    torch.testing.assert_close(logits.double(), x.double() @ weight.double().T, rtol=1e-5, atol=1e-3)
