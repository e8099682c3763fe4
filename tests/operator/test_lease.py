"""One replica writes at a time, whatever the clocks say; another takes over when it is silent, or when it leaves."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pagelet_operator.cluster.api import Unreachable
from pagelet_operator.cluster.kinds import LEASE, Kind
from pagelet_operator.cluster.lease import DURATION_S, LEASE_NAME, TRUST_S, Election

from .fake_cluster import Clock, FakeCluster


class Server(FakeCluster):
    """A cluster whose API server may be away, or show what was."""

    away = False
    shows: dict[str, Any] | None = None

    async def get(self, kind: Kind, namespace: str, name: str) -> dict[str, Any] | None:
        if self.away:
            raise Unreachable(0, "Unreachable", "no answer")
        return self.shows or await super().get(kind, namespace, name)


class Wall:
    """A clock that people read."""

    def __init__(self, year: int) -> None:
        self.now = datetime(year, 1, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        self.now += timedelta(seconds=1)
        return self.now


def election(server: FakeCluster, identity: str, clock: Clock, year: int = 2026) -> Election:
    """A replica with clocks of its own."""
    return Election(server, "ops", identity, clock, Wall(year))


async def test_the_first_takes_the_lease_and_the_second_stands_by() -> None:
    server, clock = Server(), Clock(0)
    first, second = election(server, "one", clock), election(server, "two", clock)
    assert await first.step()
    assert not await second.step()
    assert first.held
    assert not second.held
    lease = await server.get(LEASE, "ops", LEASE_NAME)
    assert lease["spec"]["holderIdentity"] == "one"
    assert lease["spec"]["leaseDurationSeconds"] == DURATION_S


async def test_a_renewed_lease_is_never_taken_however_wrong_the_clocks_are() -> None:
    server, clock, other = Server(), Clock(0), Clock(5_000_000)
    first, second = election(server, "one", clock, 1999), election(server, "two", other, 2055)
    for _ in range(100):
        assert await first.step()
        clock.now_s += 5
        other.now_s += 5
        assert not await second.step()


async def test_a_silent_holder_is_replaced_when_the_lease_has_not_changed_for_its_duration() -> None:
    server, clock = Server(), Clock(0)
    first, second = election(server, "one", clock), election(server, "two", clock)
    await first.step()
    clock.now_s = 3  # the standby cannot know for how long it has been as it is
    assert not await second.step()
    clock.now_s = 3 + DURATION_S - 0.1
    assert not await second.step()
    assert not first.held, "it stops trusting itself before anybody else may take over"
    clock.now_s = 3 + DURATION_S
    assert await second.step()
    lease = await server.get(LEASE, "ops", LEASE_NAME)
    assert lease["spec"]["leaseTransitions"] == 1
    assert not await first.step()


async def test_a_holder_without_an_api_server_stops_in_time_and_takes_up_its_own_lease_again() -> None:
    server, clock = Server(), Clock(0)
    first = election(server, "one", clock)
    await first.step()
    server.away = True
    clock.now_s = TRUST_S - 1
    assert not await first.step()
    assert first.held
    assert first.remaining_s == pytest.approx(DURATION_S - TRUST_S + 1)
    clock.now_s = TRUST_S
    assert not first.held
    assert first.remaining_s == 0
    server.away = False
    clock.now_s = 100
    assert await first.step()
    assert first.held


async def test_whoever_leaves_hands_over_at_once() -> None:
    server, clock = Server(), Clock(0)
    first, second = election(server, "one", clock), election(server, "two", clock)
    await first.step()
    await second.step()
    await first.release()
    assert not first.held
    assert await second.step()


async def test_of_two_that_reach_for_it_at_once_one_wins() -> None:
    server, clock = Server(), Clock(0)
    await election(server, "gone", clock).step()
    first, second = election(server, "one", clock), election(server, "two", clock)
    await first.step()
    await second.step()
    clock.now_s = DURATION_S + 1
    old = await server.get(LEASE, "ops", LEASE_NAME)
    assert await first.step()
    server.shows = old  # the second has read the Lease before the first wrote it
    assert not await second.step()
    assert not second.held
