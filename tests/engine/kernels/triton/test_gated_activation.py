"""Gates against their formulas in float64."""

import math

import pytest
import torch
from pagelet_engine.kernels.activation import Activation
from pagelet_engine.kernels.triton.gated_activation import gated_activation

TOLERANCE = {torch.float32: 3e-6, torch.float16: 1e-3, torch.bfloat16: 8e-3}
ORACLES = {
    Activation.SILU: lambda x: x / (1 + (-x).exp()),
    Activation.GELU_TANH: lambda x: x / 2 * (1 + (math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)).tanh()),
}


@pytest.mark.parametrize("activation", ORACLES)
@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize(("tokens", "inner"), [(1, 1), (3, 7), (17, 130), (2, 1536), (1, 5000)])
def test_gates(generator, device, tokens, inner, dtype, activation):
    gate_up = (4 * torch.randn(tokens, 2 * inner, generator=generator)).to(device, dtype)
    before = gate_up.clone()
    gated = gated_activation(gate_up, activation)
    gate, up = before.double().chunk(2, -1)
    assert gated.dtype == dtype
    # Of a gate far below 0, 1 + tanh has lost its digits: what counts is the error beside the gate itself.
    wanted, size = ORACLES[activation](gate) * up, (gate * up).abs()
    assert ((gated.double() - wanted).abs() <= TOLERANCE[dtype] * (wanted.abs() + 1e-3 * size) + 1e-7).all()
    assert torch.equal(gate_up, before)


@pytest.mark.parametrize("activation", ORACLES)
def test_far_gates_are_shut_or_open(device, activation):
    gate_up = torch.tensor([[-200.0, 200.0, 0.0, 3.0, 3.0, 3.0]], device=device)
    assert gated_activation(gate_up, activation).tolist() == [[0, 600, 0]]


def test_rows_may_lie_apart(generator, device):
    wide = torch.randn(4, 100, generator=generator).to(device)
    whole = gated_activation(wide[:, :60].contiguous(), Activation.SILU)
    assert torch.equal(gated_activation(wide[:, :60], Activation.SILU), whole)
