"""The kernels, each by its own benchmark, the most important first."""

import importlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from gpu.deadline import Deadline
from gpu.scene import Scene

ATTENTION = ("paged_attention",)
OTHERS = (
    "rope_kv_write",
    "rms_norm",
    "gated_activation",
    "sample",
    "block_copy",
    "fp8_linear",
    "experts",
)


def measure(scene: Scene, deadline: Deadline, modules: Sequence[str]) -> Iterator[dict[str, Any]]:
    """A record a shape; nothing on a CPU, which launches no kernels. Raises OutOfTime."""
    if scene.device.type == "cpu":
        return
    for name in modules:
        deadline.demand()
        for row in importlib.import_module(f"gpu.{name}").measure():
            yield asdict(row)
