"""The loop's turns: a real engine core on a worker without tensors, a pipe that is a list."""

import dataclasses

import pytest
from pagelet_api import inference_pb2 as pb
from pagelet_engine.core.engine import EngineCore
from pagelet_engine.core.request import Request
from pagelet_engine.core.scheduler import Scheduler
from pagelet_engine.server import pipe_pb2 as pipe
from pagelet_engine.server.conversion import to_request
from pagelet_engine.server.core_channel import PipeClosed
from pagelet_engine.server.core_loop import MAX_PROMPT_TOKENS_PER_TURN, CoreLoop
from pagelet_engine.server.metered_worker import MeteredWorker
from pagelet_engine.server.refusal import Code
from pagelet_engine.server.step_reports import StepReports

from .engine_process import request
from .fake_worker import FakeWorker

HEARTBEAT_S = 0.5


@dataclasses.dataclass
class FakeChannel:
    """Gives out what a test puts in; keeps what the core says, and how long it would have waited."""

    incoming: list[bytes] = dataclasses.field(default_factory=list)
    sent: list[pipe.StepFrame] = dataclasses.field(default_factory=list)
    waits_s: list[float] = dataclasses.field(default_factory=list)

    def receive(self, wait_s: float) -> list[bytes]:
        self.waits_s.append(wait_s)
        arrived, self.incoming = self.incoming, []
        return arrived

    def send(self, payload: bytes) -> None:
        self.sent.append(pipe.CoreFrame.FromString(payload).step)


def new_request(message: pb.GenerateRequest, arrived_s: float) -> Request:
    return to_request(message, arrived_s, eos_token_ids=(), draw_seed=lambda: 0)


class Core:
    def __init__(self, max_queued: int = 10) -> None:
        worker = MeteredWorker(FakeWorker())
        scheduler = Scheduler(
            num_blocks=40,
            block_size=4,
            max_model_len=100,
            max_batched_tokens=64,
            max_num_seqs=8,
            max_queued=max_queued,
            kv_events=True,
        )
        self.engine = EngineCore(scheduler, worker, depth=1)
        self.channel = FakeChannel()
        reports = StepReports(self.engine, worker)
        self.loop = CoreLoop(
            self.engine,
            self.channel,
            reports,
            lambda m, arrived_s: to_request(m, arrived_s, (), lambda: 0),
            HEARTBEAT_S,
        )

    def turn(self, *commands: pipe.Command) -> pipe.StepFrame:
        if commands:
            self.channel.incoming.append(pipe.CommandFrame(commands=commands).SerializeToString())
        self.loop.turn()
        return self.channel.sent[-1]


def submit(message: pb.GenerateRequest) -> pipe.Command:
    return pipe.Command(submit=pipe.Submit(request=message, arrived_s=0.0))


def abort(request_id: str) -> pipe.Command:
    return pipe.Command(abort=pb.Abort(request_id=request_id))


def tokens(frame: pipe.StepFrame) -> list[int]:
    """In the lean form or in an update."""
    told = [token for update in frame.updates for sample in update.samples for token in sample.token_ids]
    return [*frame.drawn.token_ids, *told]


def test_every_turn_makes_one_step_and_sends_one_frame() -> None:
    core = Core()
    assert [tokens(core.turn(submit(request("r", max_tokens=3)))), tokens(core.turn()), tokens(core.turn())] == [
        [3],
        [4],
        [5],
    ]
    assert core.channel.sent[-1].updates[0].finished
    assert len(core.channel.sent) == 3
    assert [frame.load.step for frame in core.channel.sent] == [1, 2, 3]
    assert [frame.tokens for frame in core.channel.sent] == [3, 1, 1]


def test_the_core_waits_only_when_it_has_nothing_to_do() -> None:
    core = Core()
    core.turn(submit(request("r", max_tokens=2)))
    core.turn()
    core.turn()
    assert core.channel.waits_s == [HEARTBEAT_S, 0.0, HEARTBEAT_S]


def test_an_idle_turn_is_a_heartbeat_with_the_load() -> None:
    frame = Core().turn()
    assert (len(frame.updates), frame.tokens, frame.load.blocks_total) == (0, 0, 40)


def test_an_abort_frees_the_blocks_in_the_turn_that_reads_it() -> None:
    core = Core()
    assert core.turn(submit(request("r"))).load.blocks_in_use > 0
    frame = core.turn(abort("r"))
    assert frame.updates[0].finished
    assert frame.updates[0].samples[0].finish_reason == pb.ABORT
    assert frame.load.blocks_in_use == 0


def test_a_request_and_its_abort_in_one_frame_end_in_that_turn() -> None:
    core = Core()
    frame = core.turn(submit(request("r")), abort("r"))
    assert [update.finished for update in frame.updates] == [True]
    assert not core.engine.has_work


def test_running_requests_wait_for_a_few_of_many_long_prompts_at_a_time() -> None:
    core = Core()
    core.turn(submit(request("running", max_tokens=50)))
    most = -(-MAX_PROMPT_TOKENS_PER_TURN // 40_000)
    refused: list[str] = []
    frame = core.turn(*(submit(request(f"long-{number}", [5] * 40_000)) for number in range(20)))
    while len(refused) < 20:
        ended = [update.request_id for update in frame.updates if update.HasField("error")]
        assert 0 < len(ended) <= most
        assert tokens(frame), "a step in every turn"
        refused += ended
        frame = core.turn()
    assert refused == [f"long-{number}" for number in range(20)]


def test_what_the_engine_refuses_is_answered_in_the_same_frame() -> None:
    frame = Core(max_queued=1).turn(submit(request("first")), submit(request("second")))
    refused = next(update for update in frame.updates if update.HasField("error"))
    assert (refused.request_id, refused.finished) == ("second", True)
    assert refused.error.code == Code.RESOURCE_EXHAUSTED
    assert refused.error.retry_after_ms > 0


def test_kv_events_are_reported_while_somebody_listens_and_counted_always() -> None:
    core = Core()
    listen = pipe.Command(listen_kv=pipe.ListenKv(on=True))
    core.turn(submit(request("one", tokens=range(10, 19), max_tokens=1)))
    assert not core.channel.sent[-1].kv_events
    frame = core.turn(listen)
    assert [event.WhichOneof("event") for event in frame.kv_snapshot] == ["all_blocks_cleared"] + ["block_stored"] * 2
    assert frame.kv_sequence == 2
    frame = core.turn(submit(request("two", tokens=range(20, 25), max_tokens=1)))
    assert [list(event.block_stored.token_ids) for event in frame.kv_events] == [[20, 21, 22, 23]]
    assert (frame.kv_sequence, len(frame.kv_snapshot)) == (3, 0)
    core.turn(pipe.Command(listen_kv=pipe.ListenKv(on=False)))
    frame = core.turn(submit(request("three", tokens=range(30, 35), max_tokens=1)))
    assert not frame.kv_events


def test_the_loop_ends_with_the_pipe() -> None:
    core = Core()

    def closed(wait_s: float) -> list[bytes]:
        raise PipeClosed("gone")

    core.channel.receive = closed  # type: ignore[method-assign]
    with pytest.raises(PipeClosed):
        core.loop.run()


def test_a_full_queue_refuses_with_a_time_to_come_back() -> None:
    frame = Core(max_queued=1).turn(submit(request("a")), submit(request("b")))
    (refused,) = (update.error for update in frame.updates if update.HasField("error"))
    assert refused.code == Code.RESOURCE_EXHAUSTED
    assert refused.retry_after_ms >= 1000
