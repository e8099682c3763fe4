"""One probe of a container: what to ask, when to ask next, and what the answers so far amount to.

Pure: knows no sockets and no clock. The semantics are Kubernetes' (core/v1 Probe), with one liberty: while a first
success is awaited, the question is asked several times a second, because nobody wants to wait for a period on a laptop.
The time that a container has for that stays `failureThreshold x periodSeconds`.
"""

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Self

EAGER_PERIOD_S = 0.15


class Role(StrEnum):
    STARTUP = "startup"
    READINESS = "readiness"
    LIVENESS = "liveness"


@dataclass(frozen=True, slots=True)
class HttpGet:
    path: str
    port: int


@dataclass(frozen=True, slots=True)
class TcpSocket:
    port: int


@dataclass(frozen=True, slots=True)
class Exec:
    command: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Probe:
    """A container's probe; the defaults are Kubernetes' own."""

    action: HttpGet | TcpSocket | Exec
    initial_delay_s: float = 0
    period_s: float = 10
    timeout_s: float = 1
    success_threshold: int = 1
    failure_threshold: int = 3


@dataclass(frozen=True, slots=True)
class ProbeTrack:
    """The answers to one probe of one running container."""

    role: Role
    probe: Probe
    due_s: float
    """When to ask next."""
    passing: bool | None = None
    """None: undecided. A container is not ready while undecided, and not unhealthy either."""
    successes: int = 0
    """In a row, up to now; the same for failures."""
    failures: int = 0
    failing_since_s: float = 0
    detail: str = ""
    """What the last answer said; empty: nobody was there to ask."""

    @classmethod
    def begin(cls, role: Role, probe: Probe, now_s: float) -> Self:
        return cls(role, probe, due_s=now_s + probe.initial_delay_s)

    def after(self, ok: bool, detail: str, now_s: float) -> "ProbeTrack":
        """The track after one more answer.

        A verdict of failure needs `failure_threshold` failures in a row and the time that as many periods take, so that
        asking more often than the period never shortens what a container was granted.
        """
        probe = self.probe
        successes = self.successes + 1 if ok else 0
        failures = 0 if ok else self.failures + 1
        failing_since_s = now_s if failures == 1 else self.failing_since_s
        passing = self.passing
        if successes >= probe.success_threshold:
            passing = True
        elif failures >= probe.failure_threshold:
            granted_s = (probe.failure_threshold - 1) * probe.period_s
            if now_s - failing_since_s >= granted_s:
                passing = False
        eager = passing is not True and self.role is not Role.LIVENESS
        period_s = min(EAGER_PERIOD_S, probe.period_s) if eager else probe.period_s
        return replace(
            self,
            due_s=now_s + period_s,
            passing=passing,
            successes=successes,
            failures=failures,
            failing_since_s=failing_since_s,
            detail=detail,
        )
