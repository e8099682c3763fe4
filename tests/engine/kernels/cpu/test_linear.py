"""Products, their epilogues and their formats, against float64."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pagelet_engine.kernels.cpu.abi import Dtype
from pagelet_engine.kernels.cpu.library import Library
from pagelet_engine.kernels.cpu.ops import CpuOps
from pagelet_engine.kernels.cpu.weights import PackedWeight, WeightMemory

from tests.engine.kernels.cpu.conftest import LIBRARY_UNDER_TEST, usable_levels

OWN = {torch.float32: Dtype.FP32, torch.bfloat16: Dtype.BF16}
TOLERANCE = {torch.float32: 2e-6, torch.bfloat16: 5e-3}
SHAPES = [(1, 64, 32), (5, 66, 40), (16, 96, 33), (17, 128, 64), (33, 576, 96), (300, 64, 48), (7, 2, 1)]


def random(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def packed(ops: CpuOps, weight: torch.Tensor, dtype: Dtype, *, is_gated: bool = False) -> PackedWeight:
    held = WeightMemory().packed(*weight.shape, dtype, is_gated)
    for part in weight.chunk(2) if is_gated else [weight]:
        held.pack(ops.native, part, 0 if part is weight or part.data_ptr() == weight.data_ptr() else len(weight) // 2)
    return held


def assert_near(found: torch.Tensor, wanted: torch.Tensor, dtype: torch.dtype) -> None:
    torch.testing.assert_close(found.double(), wanted, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype] * 4)


@pytest.mark.parametrize("dtype", OWN)
@pytest.mark.parametrize(("rows", "inputs", "outputs"), SHAPES)
def test_a_product_with_bias_and_residual(ops, dtype, rows, inputs, outputs):
    x, weight = random(rows, inputs, dtype=dtype), random(outputs, inputs, seed=1, dtype=dtype) / math.sqrt(inputs)
    weight, residual = weight.to(dtype), random(rows, outputs, seed=2, dtype=dtype)
    held = packed(ops, weight, OWN[dtype])
    bias = torch.zeros(held.padded_columns)
    bias[:outputs] = random(outputs, seed=3)
    product = x.double() @ weight.double().T
    assert_near(ops.linear(x, held), product, dtype)
    assert_near(ops.linear(x, held, bias), product + bias[:outputs].double(), dtype)
    assert_near(ops.linear(x, held, bias, residual), product + bias[:outputs].double() + residual.double(), dtype)


@pytest.mark.parametrize("dtype", OWN)
@pytest.mark.parametrize(("rows", "inputs", "inner"), [(1, 64, 32), (19, 96, 24), (40, 34, 50)])
def test_a_gated_product_is_silu_of_gate_times_up(ops, dtype, rows, inputs, inner):
    x, weight = random(rows, inputs, dtype=dtype), random(2 * inner, inputs, seed=1).div(math.sqrt(inputs)).to(dtype)
    gate, up = (x.double() @ weight.double().T).chunk(2, dim=1)
    held = packed(ops, weight, OWN[dtype], is_gated=True)
    bias = torch.zeros(held.padded_columns)
    own_bias = random(2 * inner, seed=4)
    bias[held.places(0, 2 * inner)] = own_bias
    assert_near(ops.linear(x, held), torch.nn.functional.silu(gate) * up, dtype)
    gate, up = gate + own_bias[:inner].double(), up + own_bias[inner:].double()
    assert_near(ops.linear(x, held, bias), torch.nn.functional.silu(gate) * up, dtype)


@pytest.mark.parametrize("dtype", OWN)
def test_logits_are_fp32_whatever_the_activations_are(ops, dtype):
    x, weight = random(5, 64, dtype=dtype), random(70, 64, seed=1, dtype=dtype)
    logits = ops.head_logits(x, packed(ops, weight, OWN[dtype]))
    assert logits.dtype == torch.float32
    torch.testing.assert_close(logits.double(), x.double() @ weight.double().T, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("dtype", OWN)
@pytest.mark.parametrize("inputs", [64, 66])
def test_a_row_is_the_same_bits_alone_and_in_any_batch_with_any_threads(make_ops, dtype, inputs):
    x, weight = random(70, inputs, dtype=dtype), random(80, inputs, seed=1, dtype=dtype)
    one, two = make_ops(1), make_ops(2)
    held = packed(one, weight, OWN[dtype])
    together = two.linear(x, held)
    assert torch.equal(together, one.linear(x, held))
    for first, last in [(0, 1), (3, 4), (69, 70), (5, 22), (1, 34)]:
        assert torch.equal(two.linear(x[first:last].clone(), held), together[first:last])


def test_another_rows_nan_is_not_mine(ops):
    x, weight = random(20, 64, dtype=torch.bfloat16), random(40, 64, seed=1, dtype=torch.bfloat16)
    held = packed(ops, weight, Dtype.BF16)
    wanted = ops.linear(x, held)
    x[7] = math.nan
    found = ops.linear(x, held)
    assert found[7].isnan().all()
    assert torch.equal(torch.cat((found[:7], found[8:])), torch.cat((wanted[:7], wanted[8:])))


@pytest.mark.parametrize("dtype", OWN)
def test_int8_strays_from_the_weights_by_half_a_step_of_each_row(ops, dtype):
    weight = random(50, 128, seed=1) * torch.logspace(-3, 2, 50)[:, None]
    weight[11] = 0
    found = ops.linear(torch.eye(128, dtype=dtype), packed(ops, weight, Dtype.INT8)).double().T
    step = weight.abs().amax(1, keepdim=True).double() / 127
    rounding = found.abs() * (2**-8 if dtype == torch.bfloat16 else 1e-6)  # of the result's own type
    assert ((found - weight.double()).abs() <= step * 0.5001 + rounding).all()


@pytest.mark.parametrize("dtype", OWN)
def test_int4_strays_by_a_step_of_each_group_of_inputs_at_most(ops, dtype):
    weight = random(40, 96, seed=1) * torch.logspace(-3, 2, 40)[:, None]
    weight[3] = 0
    found = ops.linear(torch.eye(96, dtype=dtype), packed(ops, weight, Dtype.INT4)).double().T
    # The largest magnitude of a group becomes -8; one as large of the other sign is cut to +7.
    step = weight.double().view(40, 3, 32).abs().amax(2, keepdim=True).expand(-1, -1, 32).reshape(40, 96) / 8
    assert ((found - weight.double()).abs() <= step * 1.02 + found.abs() * 2**-7).all()
    typical = (found - weight.double()).square().mean() / weight.double().square().mean()
    assert typical.sqrt() < 0.1


@given(
    rows=st.integers(1, 70),
    inputs=st.integers(1, 70).map(lambda half: 2 * half),
    outputs=st.integers(1, 100),
    level=st.sampled_from(usable_levels() or ("none",)),
    dtype=st.sampled_from(list(OWN)),
)
@settings(max_examples=60)
def test_any_shape(rows, inputs, outputs, level, dtype):
    if level == "none":
        pytest.skip("missing: the C++ ops")
    ops = CpuOps(Library(LIBRARY_UNDER_TEST).open(2, level))
    x, weight = random(rows, inputs, dtype=dtype), random(outputs, inputs, seed=1).div(math.sqrt(inputs)).to(dtype)
    assert_near(ops.linear(x, packed(ops, weight, OWN[dtype])), x.double() @ weight.double().T, dtype)
    ops.native.close()
