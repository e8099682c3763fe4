"""The table of requests: who gets which update, who may use which id, what is counted."""

import dataclasses

import pytest
from pagelet_api import inference_pb2 as pb
from pagelet_engine.server import pipe_pb2 as pipe
from pagelet_engine.server.in_flight import InFlight
from pagelet_engine.server.measures import Measures
from pagelet_engine.server.refusal import Code
from pagelet_engine.server.streams import SessionStream

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
    def __init__(self) -> None:
        self.updates: list[pb.RequestUpdate] = []

    def add(self, update: pb.RequestUpdate) -> None:
        self.updates.append(update)


class Table:
    """The table under test, with its clock in a test's hands."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self.link = FakeLink()
        self.measures = Measures()
        self.in_flight = InFlight(self.link, self.measures, lambda: self.now_s)

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
    first, second, third = (SessionStream(1, kv_events, 2**20) for kv_events in (True, True, False))
    for session in (first, second, third):
        table.in_flight.open_session(session)
    for session in (first, third, second):
        table.in_flight.close_session(session)
    assert [command.listen_kv.on for command in table.link.sent] == [True, True, False]


async def test_drawn_tokens_go_to_the_stream_that_asked_and_are_measured_alike(table: Table) -> None:
    streams = {name: SessionStream(1, False, 2**20, drawn=name == "lean") for name in ("lean", "general", "gone")}
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
