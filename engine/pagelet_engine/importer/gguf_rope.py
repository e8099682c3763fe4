"""Rotary positions: what a GGUF file says about them → `rope_parameters` of a config.json.

llama.cpp stores Llama 3's scaling not by its parameters but as the factors they give, one a frequency
(`rope_freqs.weight`); here the parameters are found again, and checked against every factor.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pagelet_engine.importer.gguf_file import GgufFile
from pagelet_engine.importer.refusal import ImportRefused

FACTORS_TENSOR = "rope_freqs.weight"

# All published Llama 3.1, 3.2 and 3.3 models share these three; only the factor differs.
_LOW_FREQ_FACTOR, _HIGH_FREQ_FACTOR, _ORIGINAL_POSITIONS = 1.0, 4.0, 8192


def rope_parameters(file: GgufFile, prefix: str, head_dim: int) -> dict[str, Any]:
    """Raises ImportRefused for a scaling that we cannot name."""
    theta = file.optional(f"{prefix}.rope.freq_base", float, 10000.0)
    scaling = file.optional(f"{prefix}.rope.scaling.type", str, "none")
    linear = file.optional(f"{prefix}.rope.scaling.factor", float, 1.0)
    parameters: dict[str, Any] = {"rope_type": "default", "rope_theta": theta}
    if FACTORS_TENSOR in file.tensors:
        factors = file.tensors[FACTORS_TENSOR].rows(slice(None))  # (head_dim / 2)
        factor = float(factors.max()) if factors.size else 1.0
        parameters |= {
            "rope_type": "llama3",
            "factor": factor,
            "low_freq_factor": _LOW_FREQ_FACTOR,
            "high_freq_factor": _HIGH_FREQ_FACTOR,
            "original_max_position_embeddings": _ORIGINAL_POSITIONS,
        }
        wanted = llama3_factors(theta, head_dim, factor)
        if factors.shape != wanted.shape or not np.allclose(factors, wanted, rtol=1e-4):
            raise ImportRefused(
                f"{file.path}: {FACTORS_TENSOR} is not Llama 3's scaling of {head_dim // 2} frequencies; import the "
                "original Hugging Face folder instead"
            )
    elif scaling == "linear" and linear != 1.0:
        parameters |= {"rope_type": "linear", "factor": linear}
    elif scaling not in ("none", "linear"):
        raise ImportRefused(
            f"{file.path}: rope scaling {scaling!r} cannot be imported; wanted none, linear, or Llama 3's"
        )
    return parameters


def llama3_factors(theta: float, head_dim: int, factor: float) -> NDArray[np.float64]:
    """How much slower than RoPE's own each frequency turns: (head_dim / 2).

    Fast frequencies stay, slow ones (wavelength above the original context) are divided by `factor`, those between are
    blended. Source: the Llama 3.1 reference implementation, `apply_scaling`.
    """
    frequencies = theta ** (-np.arange(0, head_dim, 2) / head_dim)
    turns = _ORIGINAL_POSITIONS * frequencies / (2 * math.pi)  # of each frequency over the original context
    blend = np.clip((turns - _LOW_FREQ_FACTOR) / (_HIGH_FREQ_FACTOR - _LOW_FREQ_FACTOR), 0.0, 1.0)
    return 1.0 / ((1.0 - blend) / factor + blend)
