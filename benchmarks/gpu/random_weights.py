"""Weights that nobody trained: the same for a name wherever they are made, of a size that keeps activations finite."""

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, cast

import torch
from pagelet_engine.layers.backend import Backend
from pagelet_engine.models.registry import Model, build_model
from pagelet_engine.weights.destination import Destination, Part
from pagelet_engine.worker.blueprint import Blueprint
from torch import Tensor


def random_weight(name: str, shape: Sequence[int], dtype: torch.dtype, device: torch.device) -> Tensor:
    """A checkpoint's tensor of this name. Norms are ones; a matrix leaves the size of what it multiplies as it is."""
    if len(shape) == 1:
        return torch.ones(*shape, dtype=dtype, device=device)
    generator = torch.Generator(device).manual_seed(zlib.crc32(name.encode()))
    return torch.randn(*shape, generator=generator, dtype=dtype, device=device).mul_(shape[-1] ** -0.5)


def random_checkpoint(model: Model, dtype: torch.dtype, device: torch.device) -> Iterator[tuple[str, Tensor]]:
    """Every tensor that a checkpoint of this model holds, by name. The model is one rank's, alone."""
    for name, destination in model.load().items():
        yield name, random_weight(name, cast(_OfPart, destination).part.shape, dtype, device)


@dataclass(frozen=True, slots=True)
class RandomBlueprint(Blueprint):
    """A folder's configuration without its weights."""

    def build(self, backend: Backend) -> Model:
        """Fills what a checkpoint would fill, by the same way: an FP8 layer is quantised from the model's dtype."""
        model = build_model(self.shape, self.raw, backend)
        destinations = model.load()
        with torch.inference_mode():
            for name, tensor in random_checkpoint(model, self.dtype, backend.device):
                destinations[name].fill(name, tensor)
        return model


class _OfPart(Destination, Protocol):
    """Every destination there is where one rank holds all."""

    @property
    def part(self) -> Part: ...
