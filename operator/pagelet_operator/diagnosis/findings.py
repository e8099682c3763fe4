"""What can be wrong with a pod: the reasons, in the order of how much they ask of a person."""

from collections.abc import Mapping
from dataclasses import dataclass

LONGEST_QUOTE = 1024
"""Characters of somebody else's sentence in one of ours."""


@dataclass(frozen=True, slots=True)
class Diagnosis:
    reason: str
    """One word for a condition."""
    message: str
    """A sentence a person can act on."""
    final: bool
    """Whether waiting will not heal it. What is not final may go by itself: a device or a node comes free."""


IMAGE_PULL = "ImagePull"
CONFIG_ERROR = "ConfigError"
OOM_KILLED = "OOMKilled"
CRASH_LOOP = "CrashLoop"
PODS_FORBIDDEN = "PodsForbidden"
PROGRESS_DEADLINE = "ProgressDeadline"
QUOTA_EXCEEDED = "QuotaExceeded"
NODE_LOST = "NodeLost"
UNSCHEDULABLE = "Unschedulable"
VOLUME_NOT_READY = "VolumeNotReady"
EVICTED = "Evicted"
POD_FAILED = "PodFailed"

RANKS: Mapping[str, int] = {
    reason: rank
    for rank, reason in enumerate(
        (
            *(IMAGE_PULL, CONFIG_ERROR, OOM_KILLED, CRASH_LOOP, PODS_FORBIDDEN, PROGRESS_DEADLINE, QUOTA_EXCEEDED),
            *(NODE_LOST, UNSCHEDULABLE, VOLUME_NOT_READY, EVICTED, POD_FAILED),
        ),
        start=1,
    )
}
"""Worst first. Reasons that are not here are a model's own (wrong keys, no such bucket), and come before all."""


def quoted(text: object) -> str:
    """Somebody else's sentence, on one line and not too long."""
    line = " ".join(str(text or "").split()).rstrip(".")
    return line if len(line) <= LONGEST_QUOTE else f"{line[: LONGEST_QUOTE - 1]}…"
