"""RMSNorm against its formula in float64, from one number a row to the widest."""

import pytest
import torch
from pagelet_engine.kernels.triton.rms_norm import rms_norm

TOLERANCE = {torch.float32: 2e-6, torch.float16: 1e-3, torch.bfloat16: 8e-3}
# Of the sum, which is exact but for its rounding; the interpreter rounds to bf16 towards zero.
SUM_TOLERANCE = {torch.float32: 0, torch.float16: 0, torch.bfloat16: 8e-3}
SHAPES = [(1, 1), (3, 7), (17, 130), (2, 576), (5, 2048), (2, 5120), (1, 16384)]


def oracle(x, weight, eps):
    wide = x.double()
    return wide / (wide.square().mean(-1, keepdim=True) + eps).sqrt() * weight.double()


def random_rows(generator, device, dtype, tokens, hidden):
    return torch.randn(tokens, hidden, generator=generator).to(device, dtype)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize(("tokens", "hidden"), SHAPES)
def test_divides_by_the_root_of_the_mean_square(generator, device, tokens, hidden, dtype):
    x = random_rows(generator, device, dtype, tokens, hidden)
    weight = (0.5 + torch.rand(hidden, generator=generator)).to(device)
    y = rms_norm(x, weight, 1e-5)
    assert y.dtype == dtype
    torch.testing.assert_close(y.double(), oracle(x, weight, 1e-5), rtol=TOLERANCE[dtype], atol=1e-6)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize(("tokens", "hidden"), SHAPES)
def test_norms_the_rounded_sum_and_returns_it(generator, device, tokens, hidden, dtype):
    x, residual = (random_rows(generator, device, dtype, tokens, hidden) for _ in range(2))
    weight = (0.5 + torch.rand(hidden, generator=generator)).to(device)
    y, total = rms_norm(x, weight, 1e-5, residual)
    torch.testing.assert_close(total, x + residual, rtol=SUM_TOLERANCE[dtype], atol=0)
    torch.testing.assert_close(y.double(), oracle(total, weight, 1e-5), rtol=TOLERANCE[dtype], atol=1e-6)


def test_rows_may_lie_apart(generator, device):
    wide = random_rows(generator, device, torch.float32, 4, 100)
    x, residual, weight = wide[:, :40], wide[:, 50:90], torch.ones(40, device=device)
    y, total = rms_norm(x, weight, 1e-5, residual)
    assert torch.equal(total, x + residual)
    torch.testing.assert_close(y.double(), oracle(total, weight, 1e-5), rtol=2e-6, atol=1e-6)


def test_zeros_stay_zero_and_rows_do_not_touch_each_other(device):
    x = torch.ones(3, 96, device=device)
    x[0] = 0
    x[1, 5] = torch.nan
    y = rms_norm(x, torch.ones(96, device=device), 1e-6)
    assert y[0].eq(0).all()
    assert y[1].isnan().all()
    torch.testing.assert_close(y[2], x[2])
