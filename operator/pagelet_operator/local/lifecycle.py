"""A container's life as a pure state machine: started, probed, exited, started again after a while.

Decides whether a container is ready, when it must be restarted and how long to wait before that. Knows no processes:
`container.py` acts on what is decided here.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from pagelet_operator.local.probe import Probe, ProbeTrack, Role


class Phase(StrEnum):
    WAITING = "waiting"
    """No process; one is started at `start_at_s`."""
    STARTING = "starting"
    """The process runs, the startup probe has not succeeded yet."""
    RUNNING = "running"


@dataclass(frozen=True, slots=True)
class BackOff:
    """How long to wait before a restart: doubling, forgotten once a container ran for a while.

    The kubelet's numbers are 10 s to 5 min and 10 min; a person in front of a laptop is less patient.
    """

    initial_s: float = 1
    maximum_s: float = 60
    stable_s: float = 60
    """A container that ran this long is started again at once, as if for the first time."""

    def delay_s(self, failures: int) -> float:
        """Before the start that follows `failures` short lives in a row (at least 1)."""
        # The exponent is bounded so that a container which fails for weeks does not overflow a float.
        return float(min(self.maximum_s, self.initial_s * 2 ** min(failures - 1, 32)))


@dataclass(frozen=True, slots=True)
class Life:
    """Everything known about one container; each method returns the life after an event."""

    probes: Mapping[Role, Probe]
    back_off: BackOff = field(default_factory=BackOff)
    phase: Phase = Phase.WAITING
    start_at_s: float = 0
    started_at_s: float = 0
    tracks: Mapping[Role, ProbeTrack] = field(default_factory=dict)
    ever_ready: bool = False
    restarts: int = 0
    """Exits since the container was created: each is followed by a start."""
    failures: int = 0
    """Short lives in a row."""
    last_exit: str = ""
    """Why the last process ended, in words."""

    @property
    def ready(self) -> bool:
        if self.phase is not Phase.RUNNING:
            return False
        track = self.tracks.get(Role.READINESS)
        return track is None or track.passing is True

    @property
    def unhealthy(self) -> str:
        """Why the container has to be restarted now; empty: it need not."""
        for role in (Role.STARTUP, Role.LIVENESS):
            track = self.tracks.get(role)
            if track is not None and track.passing is False:
                found = track.detail or "nothing listens there"
                return f"its {role} probe failed {track.failures} times in a row: {found}"
        return ""

    @property
    def awaited(self) -> str:
        """What the container itself says it is waiting for, as its probes report it; empty: nothing is known."""
        role = Role.STARTUP if self.phase is Phase.STARTING else Role.READINESS
        track = self.tracks.get(role)
        return track.detail if track is not None and track.passing is not True else ""

    def started(self, now_s: float) -> "Life":
        startup = self.probes.get(Role.STARTUP)
        if startup is None:
            return self._begun(now_s, started_at_s=now_s)
        return replace(
            self,
            phase=Phase.STARTING,
            started_at_s=now_s,
            tracks={Role.STARTUP: ProbeTrack.begin(Role.STARTUP, startup, now_s)},
        )

    def probed(self, role: Role, ok: bool, detail: str, now_s: float) -> "Life":
        """After one answer. An answer to a question that is no longer asked changes nothing."""
        track = self.tracks.get(role)
        if track is None:
            return self
        track = track.after(ok, detail, now_s)
        if role is Role.STARTUP and track.passing:
            return self._begun(now_s, self.started_at_s)
        life = replace(self, tracks={**self.tracks, role: track})
        return replace(life, ever_ready=life.ever_ready or life.ready)

    def exited(self, reason: str, now_s: float) -> "Life":
        """After the process ended, for whatever reason; restartPolicy is Always, so success is no exception."""
        # A start-up that runs out of its half hour was long, but nothing to build on.
        stable = self.phase is Phase.RUNNING and now_s - self.started_at_s >= self.back_off.stable_s
        failures = 0 if stable else self.failures + 1
        return replace(
            self,
            phase=Phase.WAITING,
            start_at_s=now_s if stable else now_s + self.back_off.delay_s(failures),
            tracks={},
            restarts=self.restarts + 1,
            failures=failures,
            last_exit=reason,
        )

    def gives_up(self, after_failures: int) -> bool:
        """Whether it failed so often, without ever having been ready, that a person should look at it."""
        return not self.ever_ready and self.failures >= after_failures

    def _begun(self, now_s: float, started_at_s: float) -> "Life":
        """Started: readiness and liveness are asked from now on, as Kubernetes does after the startup probe."""
        asked = {role: probe for role, probe in self.probes.items() if role is not Role.STARTUP}
        tracks: dict[Role, ProbeTrack] = {role: ProbeTrack.begin(role, probe, now_s) for role, probe in asked.items()}
        life = replace(self, phase=Phase.RUNNING, started_at_s=started_at_s, tracks=tracks)
        return replace(life, ever_ready=life.ever_ready or life.ready)
