"""Everybody does the same work, in turns: round by round, workload by workload, server by server.

The order of the servers moves on by one each round, so that nobody always comes first. The first round warms up and is
not counted.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from client import Measured, measure, wrong_lengths
from cpu.contenders import Contender, asleep
from workload import Workload


@dataclass(frozen=True, slots=True)
class Turn:
    """One server's answer to one workload in one round."""

    round_number: int
    workload: str
    server: str
    measured: Measured
    server_cpu_s: float | None
    """Of all its processes; None where they are not known."""
    others_cpu_s: float
    """What the other servers whose processes are known took meanwhile: they should be idle."""
    wrong_lengths: tuple[tuple[int, int], ...]
    """(wanted, got) of answers that were not as long as they should be."""


Makers = dict[str, Callable[[int], Workload]]
"""By name: the workload of a round."""


def turns(
    contenders: Sequence[Contender], workloads: Makers, rounds: int, sleepers: Sequence[Contender] = ()
) -> Iterator[Turn]:
    """The warm-up round, number 0, and then `rounds` more. `sleepers` are stopped while another server is measured.

    Raises WrongAnswer when a server refuses.
    """
    for round_number in range(rounds + 1):
        for name, make in workloads.items():
            workload = make(round_number)
            for contender in _rotated(contenders, round_number):
                with asleep(other for other in sleepers if other is not contender):
                    yield _turn(round_number, name, workload, contender, contenders)


def _rotated(contenders: Sequence[Contender], by: int) -> list[Contender]:
    by %= len(contenders)
    return [*contenders[by:], *contenders[:by]]


def _turn(number: int, name: str, workload: Workload, contender: Contender, everybody: Sequence[Contender]) -> Turn:
    before = [other.cpu_s() for other in everybody]
    measured = measure(contender.url, contender.model, workload, exact=False)
    took = [_difference(other.cpu_s(), earlier) for other, earlier in zip(everybody, before, strict=True)]
    index = everybody.index(contender)
    return Turn(
        number,
        name,
        contender.name,
        measured,
        took[index],
        sum(seconds or 0.0 for i, seconds in enumerate(took) if i != index),
        tuple(wrong_lengths(workload, measured)),
    )


def _difference(later: float | None, earlier: float | None) -> float | None:
    return None if later is None or earlier is None else later - earlier
