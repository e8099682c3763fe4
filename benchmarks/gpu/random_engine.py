"""The real engine over a model of random weights: scheduler, worker, load path and graphs as they are in a server, and
a log of its steps. No files but a configuration, no pipe, no clients."""

import json
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any

from gpu.random_weights import RandomBlueprint
from gpu.scene import Raw, Scene
from gpu.step_log import CudaMarks, HostMarks, LoggedWorker, StepLog
from pagelet_api.config import EngineConfig
from pagelet_api.sizes import ModelShape
from pagelet_engine.core.engine import EngineCore
from pagelet_engine.core.news import News
from pagelet_engine.core.request import Request
from pagelet_engine.core.sampling import SamplingParams
from pagelet_engine.server.start import WorkerKind, start_engine
from pagelet_engine.server.startup_clock import StartupClock
from pagelet_engine.worker.blueprint import model_errors
from pagelet_engine.worker.device.execution import Alone
from pagelet_engine.worker.device.kits import choose_kit
from pagelet_engine.worker.device.loading import build_leader
from pagelet_engine.worker.loaded import LoadedWorker
from pagelet_engine.worker.model_facts import ModelError
from workload import Request as Asked

_DIGEST = "sha256:" + "00" * 32


@dataclass(frozen=True, slots=True)
class Output:
    """Of one request, as far as it came."""

    first_token: int | None
    num_tokens: int


class RandomEngine:
    def __init__(self, scene: Scene, raw: Raw, config: EngineConfig) -> None:
        """Raises StartError."""
        marks: Any = HostMarks() if scene.device.type == "cpu" else CudaMarks()
        self.log: StepLog[Any] = StepLog(marks)
        self.shape = ModelShape.from_config(raw)
        self.dtype, self.quantization = self.shape.checkpoint_dtype, config.quantization.value
        self._ids = count()
        with tempfile.TemporaryDirectory(prefix="pagelet-benchmark-") as folder:
            (Path(folder) / "config.json").write_text(json.dumps(raw))
            began_s = time.monotonic()
            clock = StartupClock(began_s, time.monotonic)
            kind = WorkerKind(self._load, ModelError)
            self._core: EngineCore = start_engine(Path(folder), config, lambda: kind, clock).engine
            self.start_s = time.monotonic() - began_s

    def _load(self, folder: Path, config: EngineConfig) -> LoadedWorker:
        with model_errors():
            blueprint = RandomBlueprint.read(folder, config)
            loaded = build_leader(blueprint, config, Alone(), choose_kit(config), self.log.begin)(_DIGEST)
        return replace(loaded, worker=LoggedWorker(loaded.worker, self.log))

    def generate(self, requests: Sequence[Asked], until_s: float = float("inf")) -> list[Output]:
        """All at once, greedy, end-of-sequence ignored; those that have not ended at `until_s` are given up."""
        ids = [str(next(self._ids)) for _ in requests]
        for name, asked in zip(ids, requests, strict=True):
            sampling = SamplingParams(max_tokens=asked.max_tokens, temperature=0.0)
            self._core.add(Request(name, asked.prompt, sampling))
        tokens: dict[str, list[int]] = {name: [] for name in ids}
        while self._core.has_work:
            if time.monotonic() > until_s:
                self._give_up(ids)
            else:
                _note(self._core.step(), tokens)
        return [Output(own[0] if own else None, len(own)) for own in tokens.values()]

    def _give_up(self, ids: Sequence[str]) -> None:
        for name in ids:
            self._core.abort(name)
        while self._core.has_work:
            self._core.step()


def _note(news: News, tokens: dict[str, list[int]]) -> None:
    for drawing, token in zip(news.drawn_by, news.drawn, strict=True):
        tokens[drawing.request.request.id].append(token)
    for update in news.updates:
        for sample in update.samples:
            tokens[update.request_id] += sample.tokens
