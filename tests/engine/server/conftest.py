"""Engines for the tests: one shared by those that leave it as they found it, and fresh ones for the others."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .engine_process import EngineProcess


@pytest.fixture(scope="session")
def shared_engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EngineProcess]:
    """A ready engine; whoever uses it leaves nothing running."""
    engine = EngineProcess(tmp_path_factory.mktemp("engine"))
    engine.wait_until_ready()
    yield engine
    engine.stop()


@pytest.fixture
def start_engine(tmp_path: Path) -> Iterator[Callable[..., EngineProcess]]:
    """Starts an engine of the test's own, with fields of its configuration."""
    started: list[EngineProcess] = []

    def start(**config: object) -> EngineProcess:
        started.append(EngineProcess(tmp_path, **config))
        return started[-1]

    yield start
    for engine in started:
        engine.stop()
