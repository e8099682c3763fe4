"""Memory of named GPUs."""

import pytest
from pagelet_api.gpus import MEMORY_MIB, UnknownGpuError, gpu_memory_bytes


@pytest.mark.parametrize("product", MEMORY_MIB)
def test_every_product_is_found_by_its_label(product):
    assert gpu_memory_bytes(product) == MEMORY_MIB[product] * 2**20


@pytest.mark.parametrize(
    ("name", "product"), [("l40s", "NVIDIA-L40S"), ("T4", "Tesla-T4"), ("h100 80gb", "NVIDIA-H100-80GB-HBM3")]
)
def test_part_of_a_name_is_enough_where_it_leaves_no_doubt(name, product):
    assert gpu_memory_bytes(name) == MEMORY_MIB[product] * 2**20


def test_a_name_that_two_sizes_share_is_refused_with_the_choices():
    with pytest.raises(UnknownGpuError, match=r"NVIDIA-A100-SXM4-40GB.*NVIDIA-A100-SXM4-80GB"):
        gpu_memory_bytes("A100")


@pytest.mark.parametrize("name", ["", "A1", "NVIDIA-A100-SXM4-45GB", "teapot"])
def test_an_unknown_name_is_refused_with_what_comes_near_and_what_to_do(name):
    with pytest.raises(UnknownGpuError, match=r"accelerator\.memory"):
        gpu_memory_bytes(name)
