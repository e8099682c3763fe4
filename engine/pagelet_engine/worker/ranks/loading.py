"""One rank of several, loaded: joined to the others first, on the device that this pod has for it."""

from dataclasses import replace
from pathlib import Path

from pagelet_api.config import EngineConfig

from pagelet_engine.worker.device.kits import choose_kit
from pagelet_engine.worker.device.loading import load_follower, load_leader
from pagelet_engine.worker.loaded import LoadedWorker
from pagelet_engine.worker.ranks.crew import Crew
from pagelet_engine.worker.ranks.follower import LoadedRank
from pagelet_engine.worker.ranks.group import join_group
from pagelet_engine.worker.ranks.place import Meeting
from pagelet_engine.worker.ranks.watched_worker import WatchedWorker


def load_first_rank(crew: Crew, model_dir: Path, config: EngineConfig) -> LoadedWorker:
    """Rank 0, for the engine that schedules. Raises ModelError and CrewError."""
    lines, watch = crew.gather()
    kit = choose_kit(config)
    group = join_group(crew.meeting, kit.device, crew.store)
    crew.on_end(group.leave)
    loaded = load_leader(model_dir, config, group, kit, lines.send)
    return replace(loaded, worker=WatchedWorker(loaded.worker, watch))


def load_other_rank(model_dir: Path, config: EngineConfig, meeting: Meeting) -> LoadedRank:
    """Raises ModelError."""
    kit = choose_kit(config, meeting.local_rank)
    group = join_group(meeting, kit.device)
    return LoadedRank(load_follower(model_dir, config, group, kit).run, group.leave)
