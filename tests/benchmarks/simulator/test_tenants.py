from pagelet_engine.core.news import News
from pagelet_engine.core.request import RequestUpdate, SampleUpdate
from simulator import tenants
from simulator.simulation import System, simulate
from simulator.systems import PagedKv
from simulator.tenants import FEW, MANY, KeptBatch, Served
from simulator.traces import Arrival


def test_a_batch_is_kept_full_until_the_last_of_the_others_has_come() -> None:
    others = [Arrival(second, 10, 5, FEW) for second in (0.0, 5.0, 10.0)]
    arrivals = KeptBatch(4, others)
    system = System("", tenants.scheduler_for(fair_share=False), PagedKv(16).use)
    journal = simulate(system, arrivals, tenants.COST, observe=arrivals.observe)
    few = [life for life in journal.finished if life.request.tenant == FEW]
    assert len(few) == 3
    assert len(journal.finished) > 3 + 4  # who ended was replaced
    assert not journal.loaded.seconds  # nobody ever waits


def test_served_tokens_are_compared_in_windows_that_lie_inside() -> None:
    served = Served([Arrival(0.0, 5, 5, MANY), Arrival(0.0, 5, 5, FEW)])
    for number, now_s, tokens in [("0", 11.0, 3), ("1", 12.0, 3), ("0", 21.0, 2), ("1", 31.0, 9)]:
        update = RequestUpdate(number, (SampleUpdate(0, (0,) * tokens),))
        served.observe(News(updates=[update]), now_s)
    assert served.indices(5.0, 31.0) == [1.0, 0.5]
