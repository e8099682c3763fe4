"""Fill a model from a checkpoint: each tensor read once, straight into its (fused) parameter, and none forgotten."""

import re
from collections.abc import Mapping, Sequence

import torch

from pagelet_engine.weights.checkpoint import Checkpoint
from pagelet_engine.weights.destination import Destination, WeightsError
from pagelet_engine.weights.progress import LoadProgress

_SHOWN = 5


def load_weights(checkpoint: Checkpoint, destinations: Mapping[str, Destination], ignored: Sequence[str] = ()) -> None:
    """Copy every tensor of the checkpoint to its destination, with lines of progress when it takes long.

    ignored: patterns (whole names) of tensors that the model does without. Raises WeightsError, before anything is
    copied, for destinations that no tensor fills and for tensors that are neither wanted nor ignored; while copying,
    for a tensor of another shape.
    """
    surplus = [re.compile(pattern) for pattern in ignored]
    found = {name for name in checkpoint.names if not any(pattern.fullmatch(name) for pattern in surplus)}
    _refuse(sorted(destinations.keys() - found), "missing from the checkpoint", "the download or import is incomplete")
    _refuse(sorted(found - destinations.keys()), "unknown to the model", "config.json describes another architecture")
    progress = LoadProgress(sum(destination.num_bytes for destination in destinations.values()))
    with torch.inference_mode():
        for name, tensor in checkpoint.tensors():
            if name in destinations:
                destinations[name].fill(name, tensor)
                progress.advance(destinations[name].num_bytes)


def _refuse(names: list[str], what: str, hint: str) -> None:
    if names:
        shown = ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
        raise WeightsError(f"{len(names)} tensors are {what}: {shown}; {hint}")
