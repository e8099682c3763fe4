import pytest
from pagelet_engine.core.load import LoadSnapshot
from pagelet_engine.core.step import BlockCopy, Step, Tier
from simulator.measures import Journal, KvUse
from simulator.pressure import RECOMPUTE, Load, loads, scheduler_for
from simulator.simulation import Replay, System, simulate
from simulator.systems import PagedKv


@pytest.mark.parametrize("load", loads(quick=True), ids=lambda load: load.name)
def test_every_load_takes_seats_away(load: Load) -> None:
    system = System("", scheduler_for(RECOMPUTE, 0, load.cost), PagedKv(16).use)
    journal = simulate(system, Replay(load.arrivals), load.cost)
    assert journal.preemptions


def test_copies_are_counted_by_their_direction() -> None:
    def copies(source: Tier, destination: Tier, count: int) -> tuple[BlockCopy, ...]:
        return (BlockCopy(0, source, 0, destination, 0),) * count

    journal = Journal()
    for made, held in (
        (copies(Tier.DEVICE, Tier.HOST, 3), 3),
        (copies(Tier.HOST, Tier.DEVICE, 2), 3),
        (copies(Tier.DEVICE, Tier.HOST, 1), 2),
    ):
        load = LoadSnapshot(1, 0, 0, 1, 1, 0, 0, 0, 0, host_blocks_in_use=held)
        journal.step(Step(1, (), made, ()), 1.0, load, KvUse(0, 1, 1))
    assert (journal.blocks_to_host, journal.blocks_from_host, journal.host_blocks_peak) == (4, 2, 3)
