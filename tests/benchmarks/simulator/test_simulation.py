import pytest
from pagelet_engine.core.load import LoadSnapshot
from pagelet_engine.core.sampling import SamplingParams
from pagelet_engine.core.step import Sampled, Segment, SlotStart, Step, TableUpdate
from simulator.baselines.orca import Orca, reserve_power_of_two
from simulator.baselines.static_batches import StaticBatches
from simulator.hardware import A100_40GB, OPT_13B, CostModel, Work
from simulator.measures import KvUse, jain
from simulator.simulation import Replay, Stuck, System, simulate
from simulator.systems import PAGELET, SYSTEMS, PagedKv, build
from simulator.traces import SHAREGPT, Arrival, Lengths, LogNormal, backlog

COST = CostModel(A100_40GB, OPT_13B)
SHORT = Lengths("short", LogNormal(20, 0.8), LogNormal(30, 0.8), 256)


@pytest.mark.parametrize("name", SYSTEMS)
def test_every_scheduler_answers_everything(name: str) -> None:
    arrivals = backlog(SHORT, 60)
    journal = simulate(build(name, 64, 256, 16), Replay(arrivals), COST)
    assert len(journal.finished) == 60
    assert journal.useful_tokens == sum(arrival.prompt_tokens + arrival.output_tokens for arrival in arrivals)
    assert all(0 < life.first_token_s <= life.finished_s for life in journal.finished)
    assert 0 < journal.utilisation <= 1
    assert journal.share_of_pool <= journal.utilisation


def test_a_request_alone_takes_the_sum_of_its_steps() -> None:
    journal = simulate(build(PAGELET, 64, 256, 16), Replay([Arrival(2.0, 10, 3)]), COST)
    steps = [Work(10, 10, 55), Work(1, 11, 11), Work(1, 12, 12)]
    (life,) = journal.finished
    assert life.finished_s == pytest.approx(2.0 + sum(COST.seconds(work) for work in steps))
    assert life.first_token_s == pytest.approx(2.0 + COST.seconds(steps[0]))
    assert journal.mean_latency == pytest.approx((life.finished_s - 2.0) / 3)


def test_a_paged_cache_is_empty_only_at_the_ends_of_tables_and_shared_blocks_count_once() -> None:
    kv = PagedKv(block_size=4)
    starts = tuple(SlotStart(slot, 0, SamplingParams(), ()) for slot in (0, 1))
    tables = ((TableUpdate(0, 0, 7), TableUpdate(0, 1, 8)), (TableUpdate(0, 0, 7), TableUpdate(0, 1, 9)))
    segments = (Segment(1, 0, 0, 6, (), tables[0]), Segment(2, 1, 4, 1, (), tables[1]))
    load = LoadSnapshot(1, 2, 0, 10, 3, 0, 0, 0, 0)
    # Blocks 7, 8, 9: 4 tokens that both share, 2 of the first, 1 of the second.
    assert kv.use(Step(1, starts, (), segments), load) == KvUse(live=7, allocated=12, total=40)
    second = Step(2, (), (), (Segment(1, 0, 6, 1, ()), Segment(2, 1, 5, 1, ())))
    assert kv.use(second, load) == KvUse(live=9, allocated=12, total=40)


def test_a_reservation_is_used_as_far_as_tokens_are_there() -> None:
    orca = Orca(num_slots=64, max_num_seqs=4, reserve=reserve_power_of_two(64))
    system = System("orca", orca, lambda step, load: KvUse(orca.live_tokens, load.blocks_in_use, load.blocks_total))
    orca.add(Arrival(0.0, 10, 5).request(0))  # reserves 10 + 8, of which the allocator makes 32
    step = orca.schedule()
    assert step
    assert system.kv_use(step, orca.load()) == KvUse(live=10, allocated=32, total=64)


def test_a_static_batch_ends_with_its_longest_output_and_pads_the_rest() -> None:
    batches = StaticBatches(num_slots=64, max_length=32, max_num_seqs=8)
    for number, (prompt, output) in enumerate([(4, 1), (6, 3), (1, 1)]):
        batches.add(Arrival(0.0, prompt, output).request(number))
    steps = []
    while (step := batches.schedule()) and len(steps) < 9:
        steps.append([(segment.start, segment.num_tokens) for segment in step.segments])
        batches.update({s.sample: Sampled((0,) if s.samples_token else ()) for s in step.segments})
    assert steps == [[(0, 6)] * 2, [(6, 1)] * 2, [(7, 1)] * 2, [(0, 1)]]
    updates = batches.take_news().updates
    assert [len(update.samples[0].tokens) for update in updates] == [1, 3, 1]
    assert all(update.finished for update in updates)


def test_preempted_tokens_are_counted_when_they_are_computed_again() -> None:
    growing = Lengths("growing", LogNormal(8, 0.1), LogNormal(200, 0.1), 256)
    journal = simulate(build(PAGELET, 32, 256, 16), Replay(backlog(growing, 12)), COST)
    assert journal.preemptions
    assert journal.computed_tokens - journal.recomputed_tokens == journal.useful_tokens - len(journal.finished)


def test_says_who_is_stuck() -> None:
    system = build(SYSTEMS[1], 4, 256, 16)
    with pytest.raises(Stuck, match="1 requests wait"):
        simulate(system, Replay([Arrival(0.0, 100, 100)]), COST)


def test_sharegpt_fills_blocks_and_wastes_reservations() -> None:
    found = {name: simulate(build(name, 983, 2048, 256), Replay(backlog(SHAREGPT, 80)), COST) for name in SYSTEMS}
    assert found[PAGELET].utilisation >= 0.96
    assert 0.15 <= found["Orca (Max)"].share_of_pool <= 0.4


def test_fairness_is_one_for_equals_and_a_share_for_one_who_has_all() -> None:
    assert jain([3.0, 3.0]) == pytest.approx(1)
    assert jain([5.0, 0.0]) == pytest.approx(0.5)
