"""A worker for a model folder: on a CPU in this process, on a GPU as the only rank."""

from pathlib import Path

from pagelet_api.config import EngineConfig

from pagelet_engine.worker.accelerators import choose_device
from pagelet_engine.worker.device.execution import Alone
from pagelet_engine.worker.device.kits import choose_kit
from pagelet_engine.worker.device.loading import load_leader
from pagelet_engine.worker.loaded import LoadedWorker
from pagelet_engine.worker.local.loading import load_local


def load_worker(model_dir: Path, config: EngineConfig) -> LoadedWorker:
    """Ready for its first step. Raises ModelError with one clear sentence."""
    if choose_device(config.device).type == "cpu":
        return load_local(model_dir, config)
    return load_leader(model_dir, config, Alone(), choose_kit(config), lambda step, header: None)
