"""Rotary position embedding: from a `config.json` to the angles of a step's positions."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from pagelet_api.sizes import ModelConfigError
from torch import Tensor, nn

from pagelet_engine.layers.backend import Backend
from pagelet_engine.layers.batch import Batch


@dataclass(frozen=True, slots=True)
class RopeSettings:
    """What a checkpoint says of its rotary embedding. Reads transformers 5 (`rope_parameters`) and 4 (`rope_theta`,
    `rope_scaling`)."""

    theta: float
    kind: str
    scaling: Mapping[str, Any]

    @classmethod
    def from_config(cls, config: Mapping[str, Any], default_theta: float = 10_000.0) -> "RopeSettings":
        """Raises ModelConfigError for a kind we lack, naming those we have, and for missing or impossible numbers."""
        scaling = config.get("rope_parameters") or config.get("rope_scaling") or {}
        if not isinstance(scaling, Mapping):
            raise ModelConfigError(f"config.json: rope_parameters: wanted an object, found {scaling!r}")
        kind = scaling.get("rope_type", scaling.get("type", "default"))
        if kind not in INVERSE_FREQUENCIES:
            raise ModelConfigError(
                f"config.json: rope type {kind!r} is not supported; supported are: {', '.join(INVERSE_FREQUENCIES)}"
            )
        theta = scaling.get("rope_theta", config.get("rope_theta", default_theta))
        settings = cls(_positive("rope_theta", theta), kind, scaling)
        if (partial := scaling.get("partial_rotary_factor", config.get("partial_rotary_factor", 1.0))) != 1.0:
            raise ModelConfigError(f"config.json: partial_rotary_factor: wanted 1.0, found {partial!r}: not supported")
        INVERSE_FREQUENCIES[kind](torch.ones(1), settings)  # refuse missing numbers now
        return settings

    def number(self, name: str) -> float:
        return _positive(f"rope_parameters.{name}", self.scaling.get(name))


class Rotary(nn.Module):
    """Angles are fp32 and computed once a step: no table, so no longest position."""

    def __init__(self, head_dim: int, settings: RopeSettings, backend: Backend) -> None:
        super().__init__()
        self.backend = backend
        plain = 1.0 / settings.theta ** (torch.arange(0, head_dim, 2, dtype=torch.float32) / head_dim)
        frequencies = INVERSE_FREQUENCIES[settings.kind](plain, settings)
        self.inverse_frequencies = frequencies.to(backend.device)  # (head_dim / 2,)

    def forward(self, batch: Batch) -> Tensor:
        """Cosines and sines of the tokens' positions, as the backend's attention wants them."""
        return self.backend.rotary(self.inverse_frequencies, batch)


def _default(plain: Tensor, settings: RopeSettings) -> Tensor:
    return plain


def _linear(plain: Tensor, settings: RopeSettings) -> Tensor:
    return plain / settings.number("factor")


def _llama3(plain: Tensor, settings: RopeSettings) -> Tensor:
    """Llama 3.1: stretch long wavelengths by `factor`, leave short ones, blend between (from its reference code)."""
    factor, original = settings.number("factor"), settings.number("original_max_position_embeddings")
    low, high = settings.number("low_freq_factor"), settings.number("high_freq_factor")
    if high <= low:
        raise ModelConfigError(
            f"config.json: rope_parameters: wanted high_freq_factor > low_freq_factor, found {high} and {low}"
        )
    turns = original * plain / (2 * math.pi)  # full turns within the original length
    kept = ((turns - low) / (high - low)).clamp(0, 1)  # 0: stretched, 1: as it was
    return (1 - kept) * plain / factor + kept * plain


def _positive(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        raise ModelConfigError(f"config.json: {name}: wanted a positive number, found {value!r}")
    return float(value)


INVERSE_FREQUENCIES = {"default": _default, "linear": _linear, "llama3": _llama3}
"""Each kind of scaling: (plain inverse frequencies, settings) → the model's."""
