"""The floor of logged steps, against sums that are written out."""

import pytest
from gpu.roofline import least_s, works
from gpu.scene import LLAMA_3_8B
from gpu.timing import Peaks
from pagelet_api import sizes
from pagelet_api.sizes import ModelShape

SHAPE = ModelShape.from_config(LLAMA_3_8B)
PEAKS = Peaks(bytes_per_s=1e12, bf16_flop_per_s=1e15, fp8_flop_per_s=2e15, source="made up")
KV_TOKEN = 2 * 32 * 8 * 128 * 2  # K and V, layers, heads, wide, bytes


def test_a_decode_step_reads_the_weights_once_and_the_keys_and_values_of_every_sequence() -> None:
    shares = tuple((slot, 1000, 1, True) for slot in range(32))
    (work,) = works([shares], SHAPE, "bfloat16", "none")
    embedding = 128_256 * 4096 * 2
    weights = sizes.weight_bytes(SHAPE, "bfloat16", "none") - embedding + 32 * 4096 * 2
    assert work.num_bytes == weights + 32 * 1001 * KV_TOKEN
    assert least_s([work], PEAKS) == pytest.approx(work.num_bytes / 1e12)


def test_a_prompt_is_bound_by_its_products_which_fp8_makes_in_half_the_time() -> None:
    (work,) = works([((0, 0, 8000, False),)], SHAPE, "bfloat16", "none")
    assert least_s([work], PEAKS) == pytest.approx(work.flops / 1e15)
    assert least_s([work], PEAKS, "fp8") == pytest.approx(work.flops / 2e15)
