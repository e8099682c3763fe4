"""The table of requests: who gets which update, who may use which id, what is counted."""

import asyncio
import dataclasses

import pytest
from pagelet_api import inference_pb2 as pb
from pagelet_engine.server import pipe_pb2 as pipe
from pagelet_engine.server.bounds import Bounds
from pagelet_engine.server.in_flight import InFlight
from pagelet_engine.server.measures import Measures
from pagelet_engine.server.refusal import Code
from pagelet_engine.server.session_stream import SessionStream
from pagelet_engine.server.streams import GenerateStream

from .engine_process import request


@dataclasses.dataclass
class FakeLink:
    is_full: bool = False
    sent: list[pipe.Command] = dataclasses.field(default_factory=list)

    def send(self, command: pipe.Command) -> None:
        self.sent.append(command)

    def aborted(self) -> list[str]:
        return [command.abort.request_id for command in self.sent if command.HasField("abort")]


class FakeStream:
    unread_bytes = lag_bytes = 0

    def __init__(self) -> None:
        self.updates: list[pb.RequestUpdate] = []

    def add(self, update: pb.RequestUpdate) -> None:
        self.updates.append(update)


class Table:
    """The table under test, with its clock in a test's hands."""

    def __init__(self, **bounds: int) -> None:
        self.now_s = 100.0
        self.link = FakeLink()
        self.measures = Measures()
        self.in_flight = InFlight(
            self.link, self.measures, lambda: self.now_s, Bounds(**{"max_requests": 1000, **bounds})
        )

    def step(self, *updates: pb.RequestUpdate, after_s: float = 0.0) -> None:
        self.now_s += after_s
        self.in_flight.deliver(pipe.StepFrame(updates=updates, load=pb.Load(step=1), tokens=len(updates)))


def token(request_id: str, *tokens: int, finished: pb.FinishReason | None = None) -> pb.RequestUpdate:
    sample = pb.SampleUpdate(token_ids=tokens, finish_reason=finished)
    return pb.RequestUpdate(request_id=request_id, samples=[sample], finished=finished is not None)


@pytest.fixture
async def table() -> Table:
    return Table()


async def test_updates_go_to_the_stream_that_asked(table: Table) -> None:
    mine, other = FakeStream(), FakeStream()
    table.in_flight.submit(request("a"), mine)
    table.in_flight.submit(request("b"), other)
    table.step(token("a", 1), token("b", 2), token("nobody's", 3))
    assert [update.request_id for update in mine.updates] == ["a"]
    assert [update.request_id for update in other.updates] == ["b"]


async def test_an_id_stays_taken_until_the_core_lets_go_of_it(table: Table) -> None:
    gone, late = FakeStream(), FakeStream()
    table.in_flight.submit(request("a"), gone)
    table.in_flight.close(gone)
    assert table.link.aborted() == ["a"]
    table.in_flight.submit(request("a"), late)
    assert late.updates[0].error.code == Code.ALREADY_EXISTS
    table.step(token("a", 1, finished=pb.ABORT))
    assert not gone.updates
    table.in_flight.submit(request("a"), late)
    table.step(token("a", 7))
    assert late.updates[-1].samples[0].token_ids == [7]


async def test_closing_twice_aborts_once_and_what_has_finished_not_at_all(table: Table) -> None:
    stream = FakeStream()
    table.in_flight.submit(request("done"), stream)
    table.in_flight.submit(request("running"), stream)
    table.step(token("done", 1, finished=pb.STOP))
    table.in_flight.close(stream)
    table.in_flight.close(stream)
    assert table.link.aborted() == ["running"]


async def test_a_core_that_is_flooded_gets_no_more(table: Table) -> None:
    table.link.is_full = True
    stream = FakeStream()
    table.in_flight.submit(request("a"), stream)
    assert stream.updates[0].error.code == Code.RESOURCE_EXHAUSTED
    assert not table.link.sent
    assert len(table.in_flight) == 0


async def test_a_front_whose_core_does_not_answer_takes_no_more_than_its_bound() -> None:
    table, stream = Table(max_requests=3), FakeStream()
    for name in "abcd":
        table.in_flight.submit(request(name), stream)
    assert [(u.request_id, u.error.code) for u in stream.updates] == [("d", Code.RESOURCE_EXHAUSTED)]
    assert len(table.link.sent) == len(table.in_flight) == 3


# ---- clients that do not read ----------------------------------------------------------------------------------------


def talkative(request_id: str, first: int, samples: int = 1) -> pb.RequestUpdate:
    """A step of a request with 20 logprobs for each token."""
    entries = [
        pb.SampleUpdate(
            index=index,
            token_ids=[first],
            logprobs=[pb.TokenLogprobs(token_id=first, logprob=-1, rank=1, top_token_ids=range(90_000, 90_020))],
        )
        for index in range(samples)
    ]
    for entry in entries:
        entry.logprobs[0].top_logprobs.extend([-1.5] * 20)
    return pb.RequestUpdate(request_id=request_id, samples=entries)


async def read_all(session: SessionStream) -> dict[str, list[pb.RequestUpdate]]:
    """What waits, by request."""
    got: dict[str, list[pb.RequestUpdate]] = {}
    while True:
        try:
            async with asyncio.timeout(0):
                frame = await session.take()
        except TimeoutError:
            return got
        assert frame is not None
        for update in frame.updates:
            got.setdefault(update.request_id, []).append(update)


async def test_a_gateway_that_stalls_for_ten_seconds_loses_nothing(table: Table) -> None:
    session = SessionStream(1, kv_events=False, drawn=True)
    table.in_flight.open_session(session)
    names = [f"r{number}" for number in range(256)]
    for name in names:
        table.in_flight.submit(request(name), session)
    steps = 200  # 10 s of a step in 50 ms
    for step in range(steps):
        table.step(*(talkative(name, step) for name in names), after_s=0.05)
    assert not table.link.aborted()
    got = await read_all(session)
    assert got.keys() == set(names)
    for updates in got.values():
        samples = [sample for update in updates for sample in update.samples]
        assert [token for sample in samples for token in sample.token_ids] == list(range(steps))
        assert sum(len(sample.logprobs) for sample in samples) == steps


async def test_a_request_that_is_left_unread_beyond_all_measure_is_ended_alone() -> None:
    table, session = Table(max_lag_bytes=100_000), SessionStream(1, kv_events=False)
    table.in_flight.open_session(session)
    for name in ("huge", "small"):
        table.in_flight.submit(request(name), session)
    for step in range(20):
        table.step(talkative("huge", step, samples=128), talkative("small", step))
    assert table.link.aborted() == ["huge"]
    got = await read_all(session)
    (ended,) = got["huge"]
    assert (ended.error.code, ended.finished, len(ended.samples)) == (Code.RESOURCE_EXHAUSTED, True, 0)
    assert "at most 100000 are kept for a request; read faster" in ended.error.message
    assert [token for update in got["small"] for token in update.samples[0].token_ids] == list(range(20))
    table.step(token("huge", 1, finished=pb.ABORT), token("small", 1, finished=pb.STOP))
    assert "huge" not in await read_all(session)
    assert len(table.in_flight) == 0


async def test_when_all_clients_together_leave_too_much_unread_the_largest_requests_are_ended_first() -> None:
    table = Table(max_unread_bytes=400_000)
    sessions = [SessionStream(1, kv_events=False) for _ in range(2)]
    alone = GenerateStream()
    for number, session in enumerate(sessions):
        table.in_flight.open_session(session)
        for size in (8, 16, 32):
            table.in_flight.submit(request(f"{number}-{size}"), session)
    table.in_flight.submit(request("alone"), alone)
    for step in range(40):
        rows = [talkative(f"{number}-{size}", step, samples=size) for number in range(2) for size in (8, 16, 32)]
        table.step(*rows, talkative("alone", step, samples=4))
        left = sum(session.unread_bytes for session in sessions) + alone.unread_bytes
        assert left <= 400_000 + 2000
    ended = table.link.aborted()
    assert set(ended[:2]) == {"0-32", "1-32"}
    assert "alone" not in ended
    got = await read_all(sessions[0])
    assert "more than those that go on" in got["0-32"][-1].error.message


async def test_a_prompts_logprobs_are_nobodys_delay_however_long() -> None:
    table, session = Table(max_lag_bytes=10_000), SessionStream(1, kv_events=False)
    table.in_flight.open_session(session)
    table.in_flight.submit(request("long"), session)
    table.step(token("long"))
    await read_all(session)
    table.step()
    report = pb.PromptReport(tokens=5000, logprobs=[pb.TokenLogprobs(token_id=1, logprob=-1)] * 5000)
    table.step(pb.RequestUpdate(request_id="long", prompt=report))
    table.step(token("long", 1))
    assert not table.link.aborted()


async def test_a_drain_outlasts_later_steps(table: Table) -> None:
    table.in_flight.drain()
    table.step()
    stream = FakeStream()
    table.in_flight.submit(request("a"), stream)
    assert stream.updates[0].error.code == Code.UNAVAILABLE
    assert stream.updates[0].error.retry_after_ms > 0


async def test_the_table_is_empty_when_the_last_request_has_finished(table: Table) -> None:
    stream = FakeStream()
    table.in_flight.submit(request("a"), stream)
    table.step(token("a", 1, finished=pb.STOP))
    await table.in_flight.wait_until_empty()


async def test_the_end_is_told_to_who_still_listens(table: Table) -> None:
    stream, gone = FakeStream(), FakeStream()
    table.in_flight.submit(request("a"), stream)
    table.in_flight.submit(request("b"), gone)
    table.in_flight.close(gone)
    assert table.in_flight.end(Code.UNAVAILABLE, "over") == 1
    assert stream.updates[0].error.message == "over"
    assert stream.updates[0].finished


async def test_the_core_listens_for_kv_events_while_a_session_wants_them(table: Table) -> None:
    first, second, third = (SessionStream(1, kv_events) for kv_events in (True, True, False))
    for session in (first, second, third):
        table.in_flight.open_session(session)
    for session in (first, third, second):
        table.in_flight.close_session(session)
    assert [command.listen_kv.on for command in table.link.sent] == [True, True, False]


async def test_drawn_tokens_go_to_the_stream_that_asked_and_are_measured_alike(table: Table) -> None:
    streams = {name: SessionStream(1, False, drawn=name == "lean") for name in ("lean", "general", "gone")}
    for number, (name, stream) in enumerate(streams.items()):
        table.in_flight.open_session(stream)
        await stream.take()
        table.in_flight.submit(request(name), stream)
        named = pb.SampleUpdate(token_ids=[1], number=number)
        table.step(pb.RequestUpdate(request_id=name, samples=[named]))
        await stream.take()
    table.in_flight.close(streams["gone"])
    table.now_s += 0.5
    drawn = pb.Drawn(samples=[0, 1, 2, 9], token_ids=[5, 6, 7, 8])  # the last is nobody's
    table.in_flight.deliver(pipe.StepFrame(drawn=drawn, load=pb.Load(step=2)))
    lean, general = [await streams[name].take() for name in ("lean", "general")]
    assert lean is not None
    assert general is not None
    assert (list(lean.drawn.samples), list(lean.drawn.token_ids), len(lean.updates)) == ([0], [5], 0)
    assert (len(general.drawn.samples), list(general.updates[0].samples[0].token_ids)) == (0, [6])
    assert table.measures.inter_token.cumulative()[-1][1] == 3
    assert table.measures.inter_token.sum == pytest.approx(3 * 0.5)
    assert table.measures.generation_tokens == 6
    for name in ("lean", "general", "gone"):
        table.step(token(name, 9, finished=pb.STOP))
    table.in_flight.deliver(pipe.StepFrame(drawn=drawn, load=pb.Load(step=3)))
    assert table.measures.generation_tokens == 9, "numbers of ended requests are nobody's"


async def test_times_are_measured_from_arrival_and_between_tokens(table: Table) -> None:
    stream = FakeStream()
    table.in_flight.submit(request("a"), stream)
    table.in_flight.submit(request("b"), stream)
    table.step(token("a", 1), after_s=2.0)
    table.step(token("a", 2), token("b", 1), after_s=0.5)
    table.step(token("a", 3, 4, finished=pb.LENGTH), token("b", 2, finished=pb.ABORT), after_s=0.25)
    measures = table.measures
    assert measures.generation_tokens == 6
    assert measures.time_to_first_token.sum == pytest.approx(2.0 + 2.5)
    assert measures.inter_token.sum == pytest.approx(0.5 + 3 * 0.25)
    assert measures.inter_token.cumulative()[-1][1] == 4
    assert measures.e2e.sum == pytest.approx(2.75), "of answers alone"
    assert measures.finished_requests == {pb.STOP: 0, pb.LENGTH: 1, pb.ABORT: 1, pb.DEADLINE: 0}
