"""Which engine gets a request: the least loaded. Pure."""

from collections.abc import Iterable, Set
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Candidate:
    """An engine that could take a request now."""

    address: str
    mine: int
    """Requests that this gateway has on it: known exactly, at once."""
    others: int
    """Requests of other gateways, as of its last load report."""
    listed: bool
    """Its name still resolves to it. One that is connected but no longer listed is on its way out, or DNS is."""
    last_used: int
    """A counter: larger is more recent."""


def least_loaded(candidates: Iterable[Candidate], tried: Set[str] = frozenset()) -> str | None:
    """The address to send to; None when all were tried. Among equals, the one that has waited longest."""
    left = [candidate for candidate in candidates if candidate.address not in tried]
    left = [candidate for candidate in left if candidate.listed] or left
    if not left:
        return None
    return min(left, key=lambda c: (c.mine + c.others, c.last_used, c.address)).address
