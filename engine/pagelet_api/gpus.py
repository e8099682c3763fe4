"""How much memory a named GPU has: for plans about machines that are not here.

Products are named as their node label `nvidia.com/gpu.product` or `amd.com/gpu.product-name` names them, so that
`spec.accelerator.product` serves the plan and the scheduler alike.
"""

import difflib

MEMORY_MIB = {
    # As the driver reports it (`nvidia-smi --query-gpu=memory.total`, label nvidia.com/gpu.memory).
    "Tesla-T4": 15360,
    "Tesla-V100-SXM2-16GB": 16384,
    "Tesla-V100-SXM2-32GB": 32768,
    "NVIDIA-A10": 23028,
    "NVIDIA-A30": 24576,
    "NVIDIA-A40": 46068,
    "NVIDIA-A100-PCIE-40GB": 40960,
    "NVIDIA-A100-SXM4-40GB": 40960,
    "NVIDIA-A100-80GB-PCIe": 81920,
    "NVIDIA-A100-SXM4-80GB": 81920,
    "NVIDIA-GeForce-RTX-3090": 24576,
    "NVIDIA-GeForce-RTX-4090": 24564,
    "NVIDIA-RTX-A6000": 49140,
    "NVIDIA-L4": 23034,
    "NVIDIA-L40": 46068,
    "NVIDIA-L40S": 46068,
    "NVIDIA-H100-PCIe": 81559,
    "NVIDIA-H100-80GB-HBM3": 81559,
    "NVIDIA-H100-NVL": 95830,
    "NVIDIA-H200": 143771,
    "NVIDIA-B200": 183359,
    # Nominal, in binary units.
    "AMD-Instinct-MI210": 64 * 1024,
    "AMD-Instinct-MI300X": 192 * 1024,
    "AMD-Instinct-MI325X": 256 * 1024,
}


class UnknownGpuError(ValueError):
    """A product that is not in the list, or a name that several products share."""


def gpu_memory_bytes(name: str) -> int:
    """Memory of one GPU. `name` is a product, or a part of a product's name that leaves no doubt ("L40S", "h100").

    Raises UnknownGpuError, naming the products that come near.
    """
    key = _key(name)
    exact = [product for product in MEMORY_MIB if _key(product) == key]
    matches = exact or [product for product in MEMORY_MIB if key and key in _parts(product)]
    memories = {MEMORY_MIB[product] for product in matches}
    if len(memories) == 1:
        return memories.pop() * 2**20
    if matches:
        raise UnknownGpuError(f"GPU {name!r} may be any of: {', '.join(matches)}; give the whole name")
    near = difflib.get_close_matches(name, MEMORY_MIB, n=3, cutoff=0.4) or list(MEMORY_MIB)
    raise UnknownGpuError(
        f"GPU {name!r} is not in the list of known products; did you mean {', '.join(near)}? "
        "For another product, give its memory in spec.accelerator.memory"
    )


def _key(name: str) -> str:
    return name.lower().replace(" ", "-")


def _parts(product: str) -> set[str]:
    """Every run of whole words of a product's name: "a100-sxm4", not "a10" in "A100"."""
    words = _key(product).split("-")
    return {"-".join(words[i:j]) for i in range(len(words)) for j in range(i + 1, len(words) + 1)}
