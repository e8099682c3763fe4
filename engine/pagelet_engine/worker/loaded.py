"""What loading a model leaves behind: a worker ready for its first step, and what the scheduler wants to know."""

from dataclasses import dataclass

from pagelet_api.sizes import KvGroup

from pagelet_engine.core.costs import WorkerCosts
from pagelet_engine.core.step import Worker
from pagelet_engine.worker.model_facts import ModelFacts


@dataclass(frozen=True, slots=True)
class LoadedWorker:
    worker: Worker
    num_blocks: int
    """Blocks of each KV group."""
    num_host_blocks: int
    costs: WorkerCosts
    groups: tuple[KvGroup, ...]
    """With the heads that one rank holds."""
    model: ModelFacts
