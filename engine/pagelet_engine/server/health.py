"""Is the engine alive, and would it serve a request now? One pure judgement for gRPC health, /health and /ready.

Health follows the core's frames, a step or a heartbeat each, never the mere fact that a socket is open.
"""

from dataclasses import dataclass
from enum import Enum


class Phase(Enum):
    LOADING = "loading"
    SERVING = "serving"
    DRAINING = "draining"


@dataclass(frozen=True, slots=True)
class Health:
    alive: bool
    """False: only a restart helps."""
    ready: bool
    reason: str
    """A sentence for a person."""


def judge(phase: Phase, silence_s: float, step_timeout_s: float, step: int, forgotten_s: float = 0.0) -> Health:
    """The engine's health after `silence_s` without a frame from the core, the last of which was about `step`.

    `forgotten_s`: since a Drain call that no stop has followed in time.
    """
    if phase is Phase.LOADING:
        # How long loading may take is for the start-up probe to say: it knows the model's size, we do not.
        return Health(alive=True, ready=False, reason="loading the model")
    if silence_s > step_timeout_s:
        reason = f"the core is silent since step {step}: for {silence_s:.0f} s, at most {step_timeout_s:g} are allowed"
        return Health(alive=False, ready=False, reason=reason)
    if forgotten_s:
        reason = f"drained by a Drain call {forgotten_s:.0f} s ago and not stopped: restart it, so that it serves again"
        return Health(alive=False, ready=False, reason=reason)
    if phase is Phase.DRAINING:
        return Health(alive=True, ready=False, reason="draining: what runs is finished, nothing new is taken")
    return Health(alive=True, ready=True, reason="serving")
