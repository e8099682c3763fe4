"""The loop: steps in flight, ends of every kind, errors, and what can be seen from outside."""

import pytest
from pagelet_engine.core.engine import EngineCore
from pagelet_engine.core.request import FinishReason, Request
from pagelet_engine.core.sampling import SamplingParams
from pagelet_engine.core.scheduler import Scheduler

from .fake_worker import VOCABULARY
from .rig import Rig

DEPTHS = pytest.mark.parametrize("depth", [1, 2])


@DEPTHS
def test_every_request_gets_the_answer_it_would_get_alone(depth):
    rig = Rig(depth=depth, max_batched_tokens=11)
    for number in range(10):
        rig.add(f"request {number}", 3 * number + 1, max_tokens=20, n=number % 3 + 1)
    rig.drain()
    assert rig.answers == {(id, index): rig.alone(id, index) for id, index in rig.answers}
    assert len(rig.answers) == 19


@DEPTHS
def test_keeps_as_many_steps_in_flight_as_it_may(depth):
    rig = Rig(depth=depth)
    rig.add("a", 4)
    assert rig.step() != []
    assert len(rig.worker.submitted) == depth


@DEPTHS
def test_a_stop_token_ends_the_sample_and_is_told(depth):
    rig = Rig(depth=depth)
    rig.add("a", 4, max_tokens=9)
    rig.drain()
    (stop,) = {rig.answers["a", 0][5]} - set(rig.answers["a", 0][:5])
    rig.add("b", rig.requests["a"].prompt, max_tokens=9, stop_token_ids=frozenset({stop}))
    rig.drain()
    assert rig.answers["b", 0] == rig.answers["a", 0][:6]
    assert rig.reasons["b", 0] is FinishReason.STOP


def test_does_not_stop_before_min_tokens():
    rig = Rig()
    everything_but_one = frozenset(range(1, VOCABULARY))
    rig.add("a", 4, max_tokens=9, min_tokens=5, stop_token_ids=everything_but_one)
    rig.drain()
    assert len(rig.answers["a", 0]) == 6


@DEPTHS
def test_results_that_come_after_the_end_are_dropped(depth):
    rig = Rig(depth=depth)
    rig.add("a", 4)
    rig.step()
    rig.engine.abort("a")
    rig.drain()
    assert rig.reasons == {("a", 0): FinishReason.ABORT}
    assert len(rig.answers["a", 0]) == 1


@DEPTHS
def test_an_abort_frees_the_blocks_within_one_step(depth):
    rig = Rig(depth=depth)
    rig.add("a", 40)
    rig.steps(2)
    rig.engine.abort("a")
    (update,) = rig.step()
    assert update.finished
    assert rig.engine.load().blocks_in_use == 0
    assert not rig.engine.has_work


def test_one_sample_can_be_aborted_and_the_others_go_on():
    rig = Rig()
    rig.add("a", 4, n=3, max_tokens=8)
    rig.steps(3)
    rig.engine.abort("a", (1,))
    rig.drain()
    assert [rig.reasons["a", index] for index in range(3)] == [
        FinishReason.LENGTH,
        FinishReason.ABORT,
        FinishReason.LENGTH,
    ]


def test_a_waiting_request_can_be_aborted():
    rig = Rig(max_num_seqs=1)
    rig.add("a", 4, max_tokens=4)
    rig.add("b", 4)
    rig.step()
    rig.engine.abort("b")
    rig.drain()
    assert rig.answers["b", 0] == []


def test_a_preempted_request_can_be_aborted():
    rig = Rig(num_blocks=8, block_size=2, prefix_caching=False)
    rig.add("old", 3, max_tokens=12)
    rig.add("young", 2, max_tokens=12)
    rig.until(rig.preempted(times=1))
    rig.engine.abort("young")
    rig.drain()
    assert rig.reasons["young", 0] is FinishReason.ABORT


def test_aborting_what_is_not_there_does_nothing():
    rig = Rig()
    rig.engine.abort("nobody")
    rig.add("a", 4, max_tokens=1)
    rig.engine.abort("a", (7,))
    rig.drain()
    assert rig.reasons["a", 0] is FinishReason.LENGTH


@DEPTHS
@pytest.mark.parametrize("slots", [1, 2])
def test_a_deadline_ends_a_request_whether_it_runs_or_waits(depth, slots):
    rig = Rig(depth=depth, max_num_seqs=slots)
    rig.add("before", 4)
    rig.add("late", 4, deadline_s=5.0)
    rig.steps(3)
    rig.now_s = 4.9
    rig.step()
    assert "late" not in rig.finished
    rig.now_s = 5.0
    rig.step()
    assert rig.reasons == {("late", 0): FinishReason.DEADLINE}


def test_the_deadline_of_a_finished_request_does_not_touch_the_next_of_its_name():
    rig = Rig()
    rig.add("a", 4, max_tokens=1, deadline_s=5.0)
    rig.drain()
    rig.engine.add(Request("a", (1, 2, 3), SamplingParams(max_tokens=9)))
    rig.now_s = 6.0
    (update,) = rig.engine.step()
    assert not update.finished


@DEPTHS
def test_drafts_that_were_accepted_are_all_told(depth):
    rig = Rig(depth=depth, num_drawn=lambda step, sample: 3)
    rig.add("a", 5, n=2, max_tokens=13)
    rig.drain()
    assert [rig.answers["a", index] for index in range(2)] == [rig.alone("a", index) for index in range(2)]


@DEPTHS
def test_a_draw_that_came_to_nothing_is_rolled_back_and_repeated(depth):
    rig = Rig(depth=depth, num_drawn=lambda step, sample: step % 3 != 0)
    rig.add("a", 5, n=2, max_tokens=13)
    rig.drain()
    assert [rig.answers["a", index] for index in range(2)] == [rig.alone("a", index) for index in range(2)]


def test_what_the_worker_raises_ends_the_loop():
    class BrokenWorker:
        def submit(self, step):
            return self

        def result(self):
            raise RuntimeError("the device is gone")

    scheduler = Scheduler(
        num_blocks=4, block_size=4, max_model_len=16, max_batched_tokens=16, max_num_seqs=1, max_queued=1
    )
    engine = EngineCore(scheduler, BrokenWorker(), depth=1)
    engine.add(Request("a", (1, 2), SamplingParams()))
    with pytest.raises(RuntimeError, match="the device is gone"):
        engine.step()


def test_load_tells_requests_and_blocks():
    rig = Rig(num_blocks=20, block_size=4, max_num_seqs=2)
    rig.add("a", 9, n=2)
    rig.steps(2)
    rig.add("b", 4)
    load = rig.engine.load()
    assert (load.step, load.running, load.waiting) == (2, 1, 1)
    assert (load.blocks_total, load.blocks_in_use, load.blocks_cached) == (20, 4, 0)
    rig.engine.abort("a")
    rig.engine.abort("b")
    rig.drain()
    assert rig.engine.load().blocks_cached == 2
