"""Angles against float64, up to positions where fp32 has lost them."""

import pytest
import torch
from pagelet_engine.kernels.triton.rotary import rotary


@pytest.mark.parametrize("head_dim", [2, 64, 80, 96, 256])
@pytest.mark.parametrize("theta", [1e4, 1e6])
def test_angles_are_right_to_fp32_up_to_a_million(device, head_dim, theta):
    positions = torch.tensor([0, 1, 2, 17, 4095, 32768, 131071, 999_999, 1_000_000], dtype=torch.int32, device=device)
    inverse_frequencies = theta ** -(torch.arange(0, head_dim, 2, device=device) / head_dim)
    angles = rotary(positions, inverse_frequencies)
    assert angles.dtype == torch.float32
    wanted = positions[:, None].double() * inverse_frequencies.double()
    torch.testing.assert_close(angles[:, 0].double(), wanted.cos(), rtol=0, atol=4e-7)
    torch.testing.assert_close(angles[:, 1].double(), wanted.sin(), rtol=0, atol=4e-7)


def test_a_padded_row_may_have_any_position(device):
    positions = torch.tensor([-5, 1 << 30, 3], dtype=torch.int32, device=device)
    angles = rotary(positions, torch.ones(4, device=device))
    torch.testing.assert_close(angles[2, 0], torch.tensor(3.0, device=device).cos().expand(4))
