"""Rounding, against torch's: bit for bit, the odd values included."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pagelet_engine.importer.floats import FLOATS

ODD = [0.0, -0.0, 1.0, np.inf, -np.inf, 65504.0, 65520.0, 3.4e38, -3.4e38, 1e-45, 1.17e-38, 5.96e-8, 2.98e-8]
TIES = [1.00390625, 1.01171875, -1.00390625]  # exactly between two bfloat16: one goes down, one up


@pytest.mark.parametrize("dtype", FLOATS)
@given(bits=st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=50))
def test_any_float32_is_rounded_as_torch_rounds_it(dtype, bits):
    values = np.concatenate([np.array(bits, np.uint32).view(np.float32), np.array(ODD + TIES, np.float32)])
    numbers = values[~np.isnan(values)]

    ours = torch.from_numpy(FLOATS[dtype].from_float32(numbers).view(np.uint8))

    assert torch.equal(ours, torch.from_numpy(numbers).to(getattr(torch, dtype)).view(torch.uint8))


@pytest.mark.parametrize("dtype", FLOATS)
def test_what_is_no_number_stays_none(dtype):
    kind = FLOATS[dtype]
    strange = np.array([0x7F800001, 0xFF800001, 0x7FFFFFFF, 0x7FC00000], np.uint32).view(np.float32)

    assert np.isnan(kind.to_float32(kind.from_float32(strange))).all()


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_widening_and_rounding_again_changes_nothing(dtype):
    kind = FLOATS[dtype]
    bits = np.arange(2**16, dtype=np.uint16).view(kind.bits)
    values = kind.to_float32(bits)
    numbers = ~np.isnan(values)

    assert np.array_equal(kind.from_float32(values[numbers]).view(np.uint16), bits[numbers].view(np.uint16))
