"""Where this process stands among the ranks of its engine, from the environment that LeaderWorkerSet sets. Pure.

A pod runs the same number of ranks as every other pod of its group; the first pod leads: its first rank is rank 0.
"""

from collections.abc import Mapping
from dataclasses import dataclass

LEADER_ENV = "LWS_LEADER_ADDRESS"
GROUP_SIZE_ENV = "LWS_GROUP_SIZE"
POD_ENV = "LWS_WORKER_INDEX"
_ALL = (LEADER_ENV, GROUP_SIZE_ENV, POD_ENV)

LOOPBACK = "127.0.0.1"


class PlaceError(Exception):
    """The environment and the configuration do not fit each other; one sentence for a person."""


@dataclass(frozen=True, slots=True)
class Place:
    """Of one pod."""

    size: int
    """Ranks of the engine."""
    pods: int = 1
    pod: int = 0
    """Among the pods of its group; 0 leads."""
    leader_host: str = LOOPBACK

    @property
    def ranks(self) -> range:
        """Those of this pod."""
        each = self.size // self.pods
        return range(self.pod * each, (self.pod + 1) * each)

    def where(self, pid: int) -> str:
        """A process of this pod, in words."""
        return f"pid {pid}" if self.pods == 1 else f"pod {self.pod}, pid {pid}"


@dataclass(frozen=True, slots=True)
class Meeting:
    """Where, and as who, one rank of this pod meets the tensors of the others."""

    place: Place
    rank: int
    store_port: int
    """On rank 0's host."""

    @property
    def local_rank(self) -> int:
        """Among the ranks of this pod: which of its accelerators is ours."""
        return self.rank - self.place.ranks.start


def follows(environment: Mapping[str, str]) -> bool:
    """Whether this pod runs ranks for a leader in another one. Wrong variables are for find_place to refuse."""
    return environment.get(POD_ENV, "0") != "0"


def find_place(environment: Mapping[str, str], tensor_parallel_size: int) -> Place:
    """Raises PlaceError."""
    found = [name for name in _ALL if environment.get(name)]
    if not found:
        return Place(tensor_parallel_size)
    if missing := [name for name in _ALL if name not in found]:
        raise PlaceError(f"wanted {', '.join(_ALL)} together or none of them, found no {' and no '.join(missing)}")
    pods, pod = _number(environment, GROUP_SIZE_ENV), _number(environment, POD_ENV)
    if not pod < pods:
        raise PlaceError(f"{POD_ENV}: wanted 0 to {GROUP_SIZE_ENV} - 1, found {pod} of {pods}")
    each, rest = divmod(tensor_parallel_size, pods)
    if rest or not each:
        raise PlaceError(
            f"tensorParallelSize: {tensor_parallel_size} ranks cannot be spread evenly over {pods} pods "
            f"({GROUP_SIZE_ENV}): {tensor_parallel_size} = {pods} × {each} + {rest}; "
            f"make one of them a multiple of the other, such as {pods * (each + 1)} ranks"
        )
    return Place(tensor_parallel_size, pods, pod, environment[LEADER_ENV] if pods > 1 else LOOPBACK)


def _number(environment: Mapping[str, str], name: str) -> int:
    text = environment[name]
    if not text.isdecimal():
        raise PlaceError(f"{name}: wanted a whole number, found {text!r}")
    return int(text)
