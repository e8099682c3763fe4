"""What a pod is doing, in a few words for a person. Pure."""

import math
from collections.abc import Sequence

from pagelet_operator.local.lifecycle import Life, Phase
from pagelet_operator.local.probe import Role


def state_of_pod(lives: Sequence[Life], now_s: float, *, stopping: bool = False) -> str:
    """The state of the container that holds the pod up; "ready" when none does."""
    if stopping:
        return "stopping"
    waiting_for = next((life for life in lives if not life.ready), None)
    return _state(waiting_for, now_s) if waiting_for else "ready"


def _state(life: Life, now_s: float) -> str:
    if life.phase is Phase.WAITING:
        if not life.last_exit:
            return "starting"
        wait_s = max(0, math.ceil(life.start_at_s - now_s))
        return f"restart {life.restarts} in {wait_s} s"
    if life.ever_ready and life.phase is Phase.RUNNING and _has_been_asked(life):
        return f"not ready: {life.awaited or 'it does not say why'}"
    return life.awaited or ("starting" if life.phase is Phase.STARTING else "started")


def _has_been_asked(life: Life) -> bool:
    track = life.tracks.get(Role.READINESS)
    return track is not None and track.failures + track.successes > 0
