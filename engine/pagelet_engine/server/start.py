"""From a model folder to an engine that has proven itself: worker imported, model loaded, one token generated.

Owns the order of these and the time they take. Refuses to know torch: a kind of worker is given.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from pagelet_api import inference_pb2 as pb
from pagelet_api.config import EngineConfig

from pagelet_engine.core.costs import Costs, WorkerCosts
from pagelet_engine.core.engine import EngineCore
from pagelet_engine.core.scheduler import Scheduler
from pagelet_engine.core.self_test import self_test_request
from pagelet_engine.core.step import Worker
from pagelet_engine.server.metered_worker import MeteredWorker
from pagelet_engine.server.model_info import ModelFacts, model_info
from pagelet_engine.server.startup_clock import StartupClock


class StartError(Exception):
    """The model, the configuration or the machine is not what it should be; one sentence for a person."""


class LoadedWorker(Protocol):
    """What `worker.local.load_worker` returns: the folder's digest is verified."""

    @property
    def worker(self) -> Worker: ...
    @property
    def num_blocks(self) -> int: ...
    @property
    def num_host_blocks(self) -> int: ...
    @property
    def costs(self) -> WorkerCosts: ...
    @property
    def groups(self) -> Sequence[object]: ...
    @property
    def model(self) -> ModelFacts: ...


@dataclass(frozen=True, slots=True)
class WorkerKind:
    """A kind of worker, its code imported."""

    load: Callable[[Path, EngineConfig], LoadedWorker]
    refusal: type[Exception]
    """What `load` raises, with a sentence, for a model that it cannot serve."""


@dataclass(frozen=True, slots=True)
class StartedEngine:
    engine: EngineCore
    worker: MeteredWorker
    model: pb.ModelInfo


def start_engine(
    model_dir: Path, config: EngineConfig, import_worker: Callable[[], WorkerKind], clock: StartupClock
) -> StartedEngine:
    """Make the engine ready to serve. Raises StartError."""
    with clock.phase("import"):
        kind = import_worker()
    with clock.phase("load"):
        try:
            loaded = kind.load(model_dir, config)
        except kind.refusal as error:
            raise StartError(str(error)) from error
    scheduler = _new_scheduler(loaded, config)
    worker = MeteredWorker(loaded.worker)
    engine = EngineCore(scheduler, worker, depth=_steps_in_flight(loaded.model.device))
    with clock.phase("first_token"):
        _prove(engine, loaded.model)
    info = model_info(loaded.model, config, loaded.num_blocks, scheduler.max_length, time.time_ns())
    return StartedEngine(engine, worker, info)


def _new_scheduler(loaded: LoadedWorker, config: EngineConfig) -> Scheduler:
    return Scheduler(
        num_blocks=loaded.num_blocks,
        block_size=config.block_size,
        max_model_len=loaded.model.max_model_len,
        max_batched_tokens=config.max_num_batched_tokens,
        max_num_seqs=config.max_num_seqs,
        max_queued=config.max_queued_requests,
        num_kv_groups=len(loaded.groups),
        num_host_blocks=loaded.num_host_blocks,
        costs=Costs(loaded.costs),
        prefix_caching=config.prefix_caching,
        kv_events=config.prefix_caching,
        model_digest=loaded.model.digest,
        kv_dtype=loaded.model.kv_cache_dtype,
        self_test_token=_self_test_token(loaded.model),
    )


def _steps_in_flight(device: str) -> int:
    # A CPU computes a step inside submit; elsewhere the next one is decided while the device works.
    return 1 if device == "cpu" else 2


def _self_test_token(model: ModelFacts) -> int:
    return model.bos_token_id or 0


def _prove(engine: EngineCore, model: ModelFacts) -> None:
    """Generate one token, so that who says ready has shown it."""
    engine.add(self_test_request(_self_test_token(model), "first token"))
    tokens: list[int] = []
    while engine.has_work:
        tokens += [token for update in engine.step() for sample in update.samples for token in sample.tokens]
    if not tokens:
        raise StartError(
            "wanted a first token, found NaN or infinite logits: the weights are broken, or numbers leave the range of "
            "the dtype: where that is float16, use bfloat16 or float32"
        )
    if len(tokens) != 1:
        raise StartError(f"wanted one token from the engine before it serves, found {tokens}: do not use this build")
