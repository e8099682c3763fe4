"""Who computes what in which step: batching, budget, rank and pressure."""

import pytest
from pagelet_engine.core.request import FinishReason, RejectReason, RequestRejected

from .rig import Rig

DEPTHS = pytest.mark.parametrize("depth", [1, 2])


def test_prompts_of_several_requests_share_one_step():
    rig = Rig()
    rig.add("a", 5)
    rig.add("b", 7)
    rig.step()
    assert rig.shares() == [(0, 5), (0, 7)]


def test_a_long_prompt_is_computed_in_pieces_that_fill_the_budget():
    rig = Rig(max_batched_tokens=8)
    rig.add("long", 20, max_tokens=1)
    rig.drain()
    assert [(s.start, s.num_tokens, s.samples_token) for s in rig.segments_of(0)] == [
        (0, 8, False),
        (8, 8, False),
        (16, 4, True),
    ]


def test_every_running_sample_gets_a_token_before_a_prompt_gets_the_rest():
    rig = Rig(max_batched_tokens=8)
    for name in ("a", "b", "c"):
        rig.add(name, 2)
    rig.step()
    rig.add("urgent and long", 20, priority=1)
    rig.steps(2)
    assert rig.shares() == [(5, 5), (3, 1), (3, 1), (3, 1)]


def test_a_prompt_joins_while_others_generate():
    rig = Rig()
    rig.add("a", 4)
    rig.steps(3)
    rig.add("b", 6)
    rig.step()
    assert rig.shares() == [(6, 1), (0, 6)]


def test_no_more_samples_run_than_there_are_slots():
    rig = Rig(max_num_seqs=2)
    for name in ("a", "b", "c"):
        rig.add(name, 4, max_tokens=3)
    rig.step()
    assert (rig.engine.load().running, rig.engine.load().waiting) == (2, 1)
    rig.drain()
    assert all(segment.slot < 2 for step in rig.worker.submitted for segment in step.segments)


def test_higher_priority_goes_first_then_earlier_arrival():
    rig = Rig(max_num_seqs=1)
    for name, priority in (("first", 0), ("second", 0), ("urgent", 1)):
        rig.add(name, 4, priority=priority, max_tokens=1)
    finished = [update.request_id for _ in range(3) for update in rig.step()]
    assert finished == ["urgent", "first", "second"]


def test_a_sample_that_was_seated_is_told_its_tokens_only_once():
    rig = Rig()
    rig.add("a", 4, max_tokens=4)
    rig.drain()
    assert [len(segment.tokens) for segment in rig.segments_of(0)] == [4, 0, 0, 0], "the worker knows what it drew"


@DEPTHS
def test_nothing_is_scheduled_beyond_max_tokens(depth):
    rig = Rig(depth=depth)
    rig.add("a", 4, max_tokens=5)
    rig.add("b", 4, max_tokens=2)
    rig.drain()
    assert [sum(s.samples_token for s in rig.segments_of(sample)) for sample in (0, 1)] == [5, 2]


@DEPTHS
def test_without_max_tokens_a_sample_goes_as_far_as_one_can(depth):
    rig = Rig(depth=depth, max_model_len=20)
    rig.add("a", 4)
    rig.drain()
    assert len(rig.answers["a", 0]) == 16
    assert rig.reasons["a", 0] is FinishReason.LENGTH


def test_a_pool_smaller_than_the_model_allows_sets_the_length():
    rig = Rig(num_blocks=3, block_size=4, max_model_len=100)
    assert rig.scheduler.max_length == 12
    rig.add("a", 4)
    rig.drain()
    assert len(rig.answers["a", 0]) == 8


def test_a_full_queue_refuses_and_accepts_again_later():
    rig = Rig(max_queued=2)
    rig.add("a", 4, max_tokens=1)
    rig.add("b", 4, max_tokens=1)
    with pytest.raises(RequestRejected, match="2 requests are waiting and the queue holds 2") as refused:
        rig.add("c", 4)
    assert refused.value.reason is RejectReason.QUEUE_FULL
    rig.step()
    rig.add("c", 4, max_tokens=1)
    rig.drain()


def test_an_id_in_progress_is_refused_and_free_again_afterwards():
    rig = Rig()
    rig.add("a", 4, max_tokens=1)
    with pytest.raises(RequestRejected) as refused:
        rig.add("a", 4)
    assert refused.value.reason is RejectReason.DUPLICATE
    rig.drain()
    rig.engine.add(rig.requests["a"])


# ---- pressure ------------------------------------------------------------------------------------------------------


@DEPTHS
def test_preempts_the_youngest_when_blocks_run_out(depth):
    rig = Rig(depth=depth, num_blocks=8, block_size=2, prefix_caching=False)
    rig.add("old", 3, max_tokens=12)
    rig.add("young", 2, max_tokens=12)
    rig.drain()
    assert rig.engine.load().preemptions > 0
    assert [s.start for s in rig.segments_of(0)] == [0, *range(3, 14)], "the old one never lost its seat"
    assert [s.start for s in rig.segments_of(1)].count(0) > 1, "the young one began again"


def test_preempts_the_lowest_priority_however_old_it_is():
    rig = Rig(num_blocks=8, block_size=2, prefix_caching=False)
    rig.add("modest", 3, max_tokens=12)
    rig.add("urgent", 2, priority=1, max_tokens=12)
    rig.drain()
    assert [s.start for s in rig.segments_of(1)] == [0, *range(2, 13)]
    assert [s.start for s in rig.segments_of(0)].count(0) > 1


def test_preempts_the_last_samples_when_there_is_only_one_request():
    rig = Rig(num_blocks=8, block_size=2, prefix_caching=False)
    rig.add("a", 2, n=3, max_tokens=10)
    rig.drain()
    assert rig.engine.load().preemptions > 0
    assert [s.start for s in rig.segments_of(0)] == [0, *range(2, 11)]


def test_nothing_ranked_after_a_preempted_sample_is_admitted_before_it():
    rig = Rig(num_blocks=8, block_size=2, prefix_caching=False)
    rig.add("old", 3, max_tokens=12)
    rig.add("young", 2, max_tokens=12)
    rig.until(rig.preempted(times=1))
    rig.add("tiny", 1, max_tokens=1)
    rig.until(lambda: "tiny" in rig.finished)
    starts = [segment.sample for step in rig.worker.submitted for segment in step.segments if segment.start == 0]
    assert starts.index(2) > max(index for index, sample in enumerate(starts) if sample == 1)


def test_nobody_passes_a_preempted_sample_that_waits_for_its_prompt():
    rig = Rig(num_blocks=10, block_size=2, prefix_caching=False)
    rig.add("old", 3, max_tokens=16)
    rig.add("young", 3, n=2, max_tokens=12)
    rig.until(rig.preempted(times=2))
    rig.add("tiny", 1, max_tokens=1)
    rig.drain()
    seated = [segment.sample for step in rig.worker.submitted for segment in step.segments if len(segment.tokens) > 0]
    assert seated[:5] == [0, 1, 2, 1, 2]
    assert seated[-1] == 3


def test_a_preempted_sample_takes_back_what_the_prefix_cache_kept():
    rig = Rig(num_blocks=9, block_size=2)
    rig.add("old", 3, max_tokens=11)
    rig.add("young", 3, max_tokens=12)
    rig.drain()
    resumed = [s for s in rig.segments_of(1) if s.table_updates and s.start and s.num_tokens != 1]
    assert rig.engine.load().preemptions > 0
    assert resumed
    assert all(segment.start >= 4 for segment in resumed)


def test_a_newcomer_leaves_room_for_those_who_run():
    rig = Rig(num_blocks=6, block_size=4)
    rig.add("a", 4, max_tokens=12)
    rig.step()
    rig.add("b", 12, max_tokens=1)
    rig.step()
    assert rig.engine.load().waiting == 1, "b fits, but a's next block would cost b its seat"
    rig.drain()
    assert rig.engine.load().preemptions == 0


def test_with_steps_in_flight_one_preemption_is_waited_for_before_the_next():
    rig = Rig(depth=2, num_blocks=16, prefix_caching=False)
    for name in ("a", "b", "c", "d"):
        rig.add(name, 2, max_tokens=20)
    rig.until(rig.preempted(times=1))
    rig.steps(2)
    assert rig.engine.load().preemptions == 1, "the victim's blocks come free when its last step has ended"


def test_a_sample_whose_last_step_is_in_flight_is_let_finish():
    rig = Rig(depth=2, num_blocks=6, block_size=2, prefix_caching=False)
    rig.add("a", 2, max_tokens=10)
    rig.add("b", 1, max_tokens=5)  # holds a's sixth block until its last step has ended
    rig.drain()
    assert rig.engine.load().preemptions == 0


@pytest.mark.parametrize("n", [1, 4])
@DEPTHS
def test_a_pool_far_too_small_for_the_load_only_makes_it_slower(depth, n):
    rig = Rig(depth=depth, num_blocks=12, block_size=2, max_batched_tokens=7)
    for number in range(12):
        rig.add(f"request {number}", number % 7 + 2, n=n, max_tokens=12)
    rig.drain()
    assert rig.engine.load().preemptions > 0
    assert all(rig.answers[id, index] == rig.alone(id, index) for id in rig.requests for index in range(n))
