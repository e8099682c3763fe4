"""From exec to the first token: the engine's real processes over a saved model, phase by phase, as they report it.

Cold is with an empty Triton cache, warm with what the start before left in it. The model's files are in the page cache.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from gpu.deadline import Deadline
from gpu.random_weights import random_checkpoint
from gpu.scene import Scene
from pagelet_api.model_folder import write_manifest
from pagelet_api.sizes import ModelShape
from pagelet_engine.layers.reference import ReferenceBackend
from pagelet_engine.models.registry import build_model
from safetensors.torch import save_file

STARTS = ("cold", "warm", "warm")
_READY = re.compile(r"pagelet engine: ready (\{.*\})")
_POLL_S = 0.02
_STOP_S = 20.0


class EngineEnded(Exception):
    """It was not ready before it ended; the message has its last words."""


def measure(scene: Scene, deadline: Deadline) -> Iterator[dict[str, Any]]:
    """A record a start. Raises EngineEnded and OutOfTime."""
    with tempfile.TemporaryDirectory(prefix="pagelet-benchmark-") as name:
        folder = Path(name)
        _save_model(scene, folder / "model")
        (folder / "engine.json").write_text(scene.engine_config(max_num_seqs=256).to_json())
        for cache in STARTS:
            yield {"cache": cache, **_phases_s(folder, deadline)}


def _save_model(scene: Scene, folder: Path) -> None:
    folder.mkdir()
    raw = dict(scene.small)
    shape, dtype, cpu = ModelShape.from_config(raw), getattr(torch, raw["dtype"]), torch.device("cpu")
    model = build_model(shape, raw, ReferenceBackend(dtype, torch.device("meta")))
    tensors = random_checkpoint(model, dtype, scene.device)
    save_file({name: tensor.to(cpu) for name, tensor in tensors}, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(raw))
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).write_text("{}")
    write_manifest(folder)


def _phases_s(folder: Path, deadline: Deadline) -> dict[str, float]:
    """Seconds of each phase, and of the whole as seen from outside."""
    command = [sys.executable, "-m", "pagelet_engine.server", "--model", folder / "model"]
    command += ["--config", folder / "engine.json", "--grpc-port", "0", "--ops-port", "0"]
    environment = os.environ | {"TRITON_CACHE_DIR": str(folder / "triton")}
    log = folder / "log"
    began_s = time.monotonic()
    with log.open("wb") as errors:
        process = subprocess.Popen(list(map(str, command)), stderr=errors, env=environment)
    try:
        while not (ready := _READY.search(log.read_text())):
            deadline.demand()
            if process.poll() is not None:
                raise EngineEnded(f"wanted a ready engine, found:\n{log.read_text()[-2000:]}")
            time.sleep(_POLL_S)
        outside_s = time.monotonic() - began_s
    finally:
        process.terminate()
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    phases = {name: value for name, value in json.loads(ready[1]).items() if name.endswith("_s")}
    return {**phases, "exec_to_first_token_s": outside_s}
