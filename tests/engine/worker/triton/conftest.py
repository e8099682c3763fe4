"""The Triton backend inside the worker of GPUs: natively where one is, else in Triton's interpreter on the CPU."""

import gc
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import triton
from pagelet_api.config import EngineConfig
from pagelet_engine.kernels.triton.sample import sample
from pagelet_engine.kernels.triton.sampling_rows import note_drawn, start_rows
from pagelet_engine.layers.triton import TritonBackend
from pagelet_engine.worker.device.cpu import CPU, cpu_kit
from pagelet_engine.worker.device.kit import Kit
from pagelet_engine.worker.device.sampling import Ops
from pagelet_engine.worker.device.triton_batches import TritonBatches

from tests.engine.worker.conftest import DEFAULTS
from tests.engine.worker.kinds import Load, Loaded, load_alone

HERE = Path(__file__).parent


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: Sequence[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.filterwarnings("ignore::RuntimeWarning"))  # of rows that nobody reads
            if has_gpu():
                item.add_marker(pytest.mark.gpu)


def has_gpu() -> bool:
    return torch.cuda.is_available() and not triton.knobs.runtime.interpret


class LaunchAgain:
    """Implements `graphs.Recorder` without graphs: what is launched again reads and writes where a graph does."""

    def record(self, launch: Callable[[], torch.Tensor]) -> Callable[[], torch.Tensor]:
        launch()
        return launch


def interpreted_kit(config: EngineConfig) -> Kit:
    return replace(
        cpu_kit(config),
        backend=lambda blueprint, group: TritonBackend(blueprint.dtype, CPU, 4, group),
        batches=TritonBatches,
        sampling=Ops(start_rows, sample, note_drawn),
        recorder=LaunchAgain(),
    )


@pytest.fixture
def load() -> Load:
    if has_gpu():
        from pagelet_engine.worker.device.cuda_kit import cuda_kit

        def load_on_gpu(folder: Path, config: EngineConfig) -> Loaded:
            gc.collect()  # the pool of the test before counts against this one's memory, if anything still holds it
            return load_alone(folder, config, cuda_kit(config, torch.device("cuda", 0)))

        return load_on_gpu
    if not triton.knobs.runtime.interpret:
        pytest.skip("missing: a GPU, or TRITON_INTERPRET=1 in the environment for Triton's interpreter on the CPU")
    return lambda folder, config: load_alone(folder, config, interpreted_kit(config))


@pytest.fixture(autouse=True)
def _blocks_of_sixteen(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {"block_size": 16, "max_num_batched_tokens": 24, "max_num_seqs": 3, "max_model_len": 128}
    if has_gpu():
        settings |= {"device": "auto", "gpu_memory_utilization_percent": 20}
    for name, value in settings.items():
        monkeypatch.setitem(DEFAULTS, name, value)
