"""Workers without tensors. Several ranks meet in the model's folder: a step is over when each has written its number
there.

That waits for the dead as a collective operation does. Switches: `hold-R` keeps rank R in its next step, `raise-R`
fails it there, `hold_loading-R` keeps it loading; `broken-R` is a model that rank R cannot serve.
"""

import time
from dataclasses import replace
from pathlib import Path

from fake_worker import FakeLoadedWorker, FakeModelError, load_fake_worker
from pagelet_api.config import EngineConfig
from pagelet_engine.core.step import Step, StepHandle, Worker
from pagelet_engine.server.start import WorkerKind
from pagelet_engine.worker.ranks.crew import Crew, Lines
from pagelet_engine.worker.ranks.follower import LoadedRank, RankKind
from pagelet_engine.worker.ranks.place import Meeting
from pagelet_engine.worker.ranks.watched_worker import WatchedWorker

TELL_S = 0.2


class FakeRankError(Exception):
    """What loading raises for a model that this rank cannot serve."""


class FakeCollective:
    def __init__(self, model_dir: Path, rank: int) -> None:
        self._folder, self._rank = model_dir, rank

    def enter(self, step: int) -> None:
        path = self._folder / f"step-{self._rank}"
        path.with_suffix(".new").write_text(str(step))
        path.with_suffix(".new").rename(path)

    def wait(self, step: int, size: int) -> None:
        for rank in range(1, size):
            path = self._folder / f"step-{rank}"
            while not path.exists() or int(path.read_text()) < step:
                time.sleep(0.001)


class FakeRankedWorker:
    """Tells the other ranks of each step, and waits for them before `worker` draws its tokens."""

    def __init__(self, worker: Worker, lines: Lines, collective: FakeCollective, size: int) -> None:
        self._worker, self._lines, self._collective, self._size = worker, lines, collective, size

    def submit(self, step: Step) -> StepHandle:
        self._lines.send(step.number, str(step.number).encode())
        self._collective.wait(step.number, self._size)
        return self._worker.submit(step)


def load_fake_rank(model_dir: Path, config: EngineConfig, meeting: Meeting) -> LoadedRank:
    rank, switches = meeting.rank, model_dir / "switches"
    collective = FakeCollective(model_dir, rank)
    while (switches / f"hold_loading-{rank}").exists():
        time.sleep(0.001)
    if (switches / f"broken-{rank}").exists():
        raise FakeRankError(f"{model_dir} is broken: wanted a model, found a fake")

    def run(header: bytes) -> None:
        if (switches / f"raise-{rank}").exists():
            raise ValueError("the device is on fire")
        while (switches / f"hold-{rank}").exists():
            time.sleep(0.001)
        collective.enter(int(header))

    return LoadedRank(run, lambda: (model_dir / f"left-{rank}").touch())


def import_fake_rank() -> RankKind:
    return RankKind(load_fake_rank, FakeRankError)


def import_fake_worker(crew: Crew | None) -> WorkerKind:
    def load(model_dir: Path, config: EngineConfig) -> FakeLoadedWorker:
        loaded = load_fake_worker(model_dir, config)
        if crew is None:
            return loaded
        lines, watch = crew.gather(tell_s=TELL_S)
        worker = FakeRankedWorker(loaded.worker, lines, FakeCollective(model_dir, 0), crew.place.size)
        return replace(loaded, worker=WatchedWorker(worker, watch))

    return WorkerKind(load, FakeModelError)
