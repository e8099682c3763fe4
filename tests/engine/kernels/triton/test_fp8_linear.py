"""FP8 products: what quantising costs, against float64, and that the kernel quantises as the reference does."""

import pytest
import torch
import triton
from pagelet_engine.kernels.reference import fp8_linear as reference
from pagelet_engine.kernels.triton.fp8_linear import fp8_linear, quantize_rows, why_not

# Triton's interpreter cuts numbers down to e4m3 where a GPU rounds them: it is given numbers that are e4m3's own.
IS_INTERPRETED = triton.knobs.runtime.interpret
ROUNDS = [reference.quantize_rows] if IS_INTERPRETED else [quantize_rows, reference.quantize_rows]
SHAPES = [(1, 16, 16), (3, 576, 48), (17, 1040, 96), (2, 4112, 32)]  # tokens, in, out


@pytest.fixture
def fp8_device(device):
    if reason := why_not(16, 16, torch.bfloat16, device):
        pytest.skip(f"missing: FP8 units ({reason})")
    return device


def dequantized(quantized, scales) -> torch.Tensor:
    return quantized.double() * scales.double()[:, None]


def representable(rows, in_features, generator) -> tuple[torch.Tensor, torch.Tensor]:
    """(normal numbers of e4m3 (rows, in), a scale for each row): their product is exact in bfloat16."""
    bits = torch.randint(8, 126, (rows, in_features), generator=generator)
    sign = torch.randint(0, 2, (rows, in_features), generator=generator)
    quantized = (bits + 128 * sign).to(torch.uint8).view(torch.float8_e4m3fn)
    quantized[torch.arange(rows), torch.randint(0, in_features, (rows,), generator=generator)] = 448
    return quantized, 2.0 ** torch.randint(-20, 5, (rows,), generator=generator)


@pytest.mark.parametrize("quantize", [quantize_rows, reference.quantize_rows], ids=["triton", "reference"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize(("rows", "in_features", "_"), SHAPES)
def test_what_e4m3_holds_is_held_exactly(quantize, rows, in_features, _, dtype, fp8_device, generator):
    wanted, wanted_scales = representable(rows, in_features, generator)
    found, scales = quantize(dequantized(wanted, wanted_scales).to(fp8_device, dtype))
    assert scales.cpu().equal(wanted_scales)
    assert found.cpu().view(torch.uint8).equal(wanted.view(torch.uint8))


@pytest.mark.parametrize("quantize", ROUNDS)
def test_rounds_to_nearest(quantize, fp8_device, generator):
    x = torch.randn(17, 1040, generator=generator)
    found, scales = quantize(x.to(fp8_device))
    wanted = x.abs().amax(1) / 448
    assert scales.cpu().equal(wanted)
    assert found.float().cpu().equal((x / wanted[:, None]).to(torch.float8_e4m3fn).float())


@pytest.mark.parametrize("quantize", ROUNDS)
def test_a_bad_row_stays_alone(quantize, fp8_device):
    x = torch.ones(3, 32, dtype=torch.bfloat16, device=fp8_device)
    x[0, 3], x[1, 5] = torch.nan, torch.inf
    weight, scales = reference.quantize_rows(torch.ones(16, 32, device=fp8_device))
    found = reference.multiply(*quantize(x), weight, scales, torch.bfloat16, None, None)
    assert found[:2].isnan().all()
    assert found[2].eq(32).all()


@pytest.mark.parametrize("quantize", [quantize_rows, reference.quantize_rows], ids=["triton", "reference"])
def test_zeros_stay_zeros(quantize, fp8_device):
    found, scales = quantize(torch.zeros(2, 32, dtype=torch.bfloat16, device=fp8_device))
    assert found.float().eq(0).all()
    assert scales.gt(0).all()


@pytest.mark.parametrize("scale", [1e-3, 1.0, 300.0])
def test_a_quantised_number_is_off_by_a_sixteenth_of_itself_at_most(scale, generator):
    weight = scale * torch.randn(64, 512, generator=generator)
    weight[:, 0] *= 20  # an outlier costs the others nothing: e4m3 is a floating-point format
    found = dequantized(*reference.quantize_rows(weight))
    smallest_step = 2**-9 * weight.abs().amax(1, keepdim=True) / 448
    assert ((found - weight).abs() <= weight.abs() / 16 * 1.001 + smallest_step).all()


@pytest.mark.parametrize("op", [fp8_linear, reference.fp8_linear], ids=["triton", "reference"])
@pytest.mark.parametrize(("tokens", "in_features", "out_features"), SHAPES)
def test_a_product_is_within_five_percent_of_the_unquantised_one(
    op, tokens, in_features, out_features, fp8_device, generator
):
    x = torch.randn(tokens, in_features, generator=generator).bfloat16()
    weight = torch.randn(out_features, in_features, generator=generator) / in_features**0.5
    if IS_INTERPRETED:
        x = dequantized(*representable(tokens, in_features, generator)).bfloat16()
    quantized = reference.quantize_rows(weight.to(fp8_device))
    found = op(x.to(fp8_device), *quantized)
    assert found.dtype == torch.bfloat16
    wanted = x.double() @ weight.double().T
    error = (found.double().cpu() - wanted).norm() / wanted.norm()
    assert error < 0.05
    exact = dequantized(*reference.quantize_rows(x)) @ dequantized(*reference.quantize_rows(weight)).T
    torch.testing.assert_close(found.double().cpu(), exact, rtol=1e-2, atol=1e-2 * float(exact.std()))


@pytest.mark.parametrize("op", [fp8_linear, reference.fp8_linear], ids=["triton", "reference"])
def test_adds_its_bias_and_the_residual(op, fp8_device, generator):
    x = torch.ones(3, 32, dtype=torch.bfloat16, device=fp8_device)
    weight = reference.quantize_rows(torch.ones(16, 32, device=fp8_device))
    bias, residual = torch.randn(16, generator=generator), torch.randn(3, 16, generator=generator)
    bias, residual = bias.to(fp8_device, torch.bfloat16), residual.to(fp8_device, torch.bfloat16)
    before = residual.clone()
    wanted = 32 + bias.double() + residual.double()
    torch.testing.assert_close(op(x, *weight, bias, residual).double(), wanted, rtol=1e-2, atol=1e-2)
    torch.testing.assert_close(op(x, *weight, bias).double(), 32 + bias.double().expand(3, 16), rtol=1e-2, atol=1e-2)
    assert residual.equal(before)


def test_says_why_a_layer_cannot_be_held_in_fp8():
    cpu = torch.device("cpu")
    assert why_not(48, 576, torch.bfloat16, cpu) is None
    assert "dtype is float16; set bfloat16" in (why_not(48, 576, torch.float16, cpu) or "")
    assert "has 100 inputs and 48 outputs" in (why_not(48, 100, torch.bfloat16, cpu) or "")
    assert "has 576 inputs and 40 outputs" in (why_not(40, 576, torch.bfloat16, cpu) or "")
