"""Keys are reconciled one at a time each, none is forgotten, and a busy or broken one delays no other."""

import asyncio

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from pagelet_operator.workqueue import FIRST_BACK_OFF_S, LONGEST_BACK_OFF_S, Backlog, WorkQueue

KEYS = ("a", "b", "c", "d")


class BacklogMachine(RuleBasedStateMachine):
    """Any sequence of calls against a model that remembers, for each key, whether and when somebody is owed a run."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 0.0
        self.backlog: Backlog[str] = Backlog(random_fraction=lambda: 0.5)
        self.owed: dict[str, float] = {}  # a run that begins at or after this time
        self.running: set[str] = set()

    def owe(self, key: str, time_s: float) -> None:
        self.owed[key] = min(self.owed.get(key, float("inf")), time_s)

    @rule(key=st.sampled_from(KEYS))
    def add(self, key: str) -> None:
        self.backlog.add(key)
        self.owe(key, self.now_s)

    @rule(key=st.sampled_from(KEYS), delay_s=st.sampled_from([0.0, 1.0, 5.0]))
    def add_later(self, key: str, delay_s: float) -> None:
        self.backlog.add_at(key, self.now_s + delay_s)
        self.owe(key, self.now_s + delay_s)

    @rule(seconds=st.sampled_from([0.1, 1.0, 100.0]))
    def wait(self, seconds: float) -> None:
        self.now_s += seconds

    @rule()
    def take(self) -> None:
        key = self.backlog.take(self.now_s)
        ready = {key for key, time_s in self.owed.items() if time_s <= self.now_s} - self.running
        if key is None:
            assert not ready, "somebody waits and nobody is served"
            return
        assert key in ready
        self.owed.pop(key)
        self.running.add(key)

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def succeed(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(sorted(self.running)))
        self.backlog.succeeded(key)
        self.running.remove(key)

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def fail(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(sorted(self.running)))
        delay_s = self.backlog.failed(key, self.now_s)
        assert FIRST_BACK_OFF_S / 2 <= delay_s <= LONGEST_BACK_OFF_S
        self.running.remove(key)
        # News that came while it failed waits with it; what was planned stays planned.
        if self.owed.get(key, float("inf")) <= self.now_s:
            later = self.backlog.next_due_s()
            assert later is not None
            del self.owed[key]
        self.owe(key, self.now_s + delay_s)

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def abandon(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(sorted(self.running)))
        self.backlog.abandoned(key)
        self.running.remove(key)
        self.owe(key, self.now_s)

    @invariant()
    def runs_each_key_once_at_a_time(self) -> None:
        assert set(self.backlog.running) == self.running

    @invariant()
    def wakes_in_time(self) -> None:
        due_s = self.backlog.next_due_s()
        later = [time_s for key, time_s in self.owed.items() if time_s > self.now_s and key not in self.running]
        assert not later or (due_s is not None and due_s <= min(later))


BacklogMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
test_any_sequence_of_calls_keeps_every_promise = BacklogMachine.TestCase


def test_ten_events_while_one_run_lasts_cost_one_more_run() -> None:
    backlog: Backlog[str] = Backlog()
    backlog.add("a")
    assert backlog.take(0) == "a"
    for _ in range(10):
        backlog.add("a")
    assert backlog.take(0) is None
    backlog.succeeded("a")
    assert backlog.take(0) == "a"
    backlog.succeeded("a")
    assert backlog.take(0) is None


def test_a_key_that_is_always_busy_delays_the_others_by_one_turn() -> None:
    backlog: Backlog[str] = Backlog()
    for key in ("busy", "a", "b"):
        backlog.add(key)
    taken = []
    for _ in range(6):
        key = backlog.take(0)
        assert key is not None
        taken.append(key)
        backlog.add("busy")
        backlog.succeeded(key)
    assert taken[:3] == ["busy", "a", "b"]


def test_failures_wait_longer_and_longer_and_a_success_forgets_them() -> None:
    backlog: Backlog[str] = Backlog(random_fraction=lambda: 1.0)
    now_s, delays = 0.0, []
    backlog.add("a")
    for _ in range(12):
        assert backlog.take(now_s) == "a"
        delays.append(backlog.failed("a", now_s))
        assert backlog.take(now_s) is None
        now_s += delays[-1]
    assert delays[:3] == [FIRST_BACK_OFF_S, 2 * FIRST_BACK_OFF_S, 4 * FIRST_BACK_OFF_S]
    assert delays[-1] == LONGEST_BACK_OFF_S
    assert backlog.take(now_s) == "a"
    backlog.succeeded("a")
    backlog.add("a")
    assert backlog.take(now_s) == "a"
    assert backlog.failed("a", now_s) == FIRST_BACK_OFF_S


def test_news_ends_a_wait_after_a_failure() -> None:
    backlog: Backlog[str] = Backlog()
    backlog.add("a")
    backlog.take(0)
    backlog.failed("a", 0)
    backlog.add("a")
    assert backlog.take(0) == "a"


@pytest.mark.timeout(20)
async def test_waiting_workers_share_what_comes() -> None:
    queue: WorkQueue[int] = WorkQueue()
    done: list[int] = []

    async def work() -> None:
        while True:
            key = await queue.get()
            await asyncio.sleep(0)
            done.append(key)
            queue.succeeded(key)

    workers = [asyncio.create_task(work()) for _ in range(3)]
    await asyncio.sleep(0)
    for key in range(20):
        queue.add(key)
    queue.add_after(99, 0.01)
    while len(done) < 21:
        await asyncio.sleep(0.001)
    assert sorted(done) == [*range(20), 99]
    assert queue.longest_run_s == 0
    for worker in workers:
        worker.cancel()
