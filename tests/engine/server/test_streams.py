"""Backlogs: what a client gets that keeps up, that lags, and that lags too far."""

import asyncio
from itertools import product

from hypothesis import given
from hypothesis import strategies as st
from pagelet_api import inference_pb2 as pb
from pagelet_engine.server import pipe_pb2 as pipe
from pagelet_engine.server.session_stream import (
    LOAD_INTERVAL_S,
    MAX_DRAWN,
    MAX_FRAME_BYTES,
    MAX_KV_BYTES,
    MAX_WAITING_UPDATES,
    SIGN_OF_LIFE_S,
    SessionStream,
)
from pagelet_engine.server.streams import Drawer, GenerateStream


def update(request_id: str, *samples: tuple[int, int], finished: bool = False) -> pb.RequestUpdate:
    """Samples as (index, token)."""
    entries = [pb.SampleUpdate(index=index, token_ids=[token]) for index, token in samples]
    return pb.RequestUpdate(request_id=request_id, samples=entries, finished=finished)


def kv_step(*, snapshot: int = 0, events: int = 0, sequence: int = 0) -> pipe.StepFrame:
    event = pb.KvEvent(all_blocks_cleared=pb.AllBlocksCleared())
    return pipe.StepFrame(kv_snapshot=[event] * snapshot, kv_events=[event] * events, kv_sequence=sequence)


def taken(session: SessionStream) -> pb.SessionFrame | None:
    """The frame that waits; fails when none does."""

    async def take() -> pb.SessionFrame | None:
        async with asyncio.timeout(0):
            return await session.take()

    return asyncio.run(take())


def nothing_waits(session: SessionStream) -> bool:
    try:
        taken(session)
    except TimeoutError:
        return True
    return False


async def test_a_client_that_keeps_up_gets_each_update() -> None:
    stream = GenerateStream()
    for token in (1, 2):
        stream.add(update("r", (0, token)))
        assert list((await stream.take()).samples[0].token_ids) == [token]


async def test_a_client_that_lags_gets_one_entry_a_sample() -> None:
    stream = GenerateStream()
    stream.add(update("r", (0, 1), (1, 11)))
    stream.add(update("r", (1, 12), (2, 21)))
    stream.add(update("r", (0, 2), finished=True))
    late = await stream.take()
    assert {sample.index: list(sample.token_ids) for sample in late.samples} == {0: [1, 2], 1: [11, 12], 2: [21]}
    assert late.finished


def test_a_client_that_reads_now_and_then_lags_by_little() -> None:
    session = SessionStream(1, kv_events=False)
    for token in range(1000):
        session.add(update("r", (0, token)))
        assert session.lag_bytes < 200
        session.end_step(pb.Load(), now_s=0.0)
        if token % 10 == 9:
            taken(session)
    assert (session.unread_bytes, session.lag_bytes) == (0, 0)


def test_after_a_stall_what_waits_leaves_in_frames_of_a_bounded_size_and_in_order() -> None:
    session = SessionStream(1, kv_events=False)
    names = [f"r{number}" for number in range(8)]
    for token in range(3):
        for name in names:
            session.add(
                pb.RequestUpdate(request_id=name, samples=[pb.SampleUpdate(token_ids=[token + 2**20] * 50_000)])
            )
        session.end_step(pb.Load(), now_s=0.0)
    got: list[str] = []
    frames = 0
    while frame := taken(session):
        assert frame.ByteSize() < MAX_FRAME_BYTES + 1000
        got += [entry.request_id for entry in frame.updates]
        assert all(len(entry.samples[0].token_ids) == 150_000 for entry in frame.updates)
        frames += 1
        if len(got) == len(names):
            session.close()
    assert got == names
    assert frames == 4


def test_drawn_tokens_beyond_a_frames_bound_wait_in_their_requests_update() -> None:
    session = SessionStream(1, kv_events=False, drawn=True)
    tokens = range(MAX_DRAWN + 500)
    for token in tokens:
        session.add_drawn(Drawer(1, "r", 0), token)
        session.end_step(pb.Load(), now_s=0.0)
    frame = taken(session)
    assert frame is not None
    assert len(frame.drawn.token_ids) == MAX_DRAWN
    assert [*frame.drawn.token_ids, *frame.updates[0].samples[0].token_ids] == list(tokens)


def test_kv_events_that_are_left_unread_give_way_to_a_snapshot_once_the_client_reads_again() -> None:
    session = SessionStream(1, kv_events=True)
    session.add_kv(kv_step(snapshot=1))
    taken(session)
    stored = pb.KvEvent(block_stored=pb.BlockStored(token_ids=[2**20] * 10_000))
    for sequence in range(2 * MAX_KV_BYTES // stored.ByteSize()):
        session.add_kv(pipe.StepFrame(kv_events=[stored], kv_sequence=sequence))
        session.end_step(pb.Load(), now_s=0.0)
    assert not session.wants_snapshot, "the client does not read"
    frame = taken(session)
    assert frame is not None
    assert not frame.kv_events
    assert session.wants_snapshot
    session.snapshot_asked()
    session.add_kv(kv_step(events=1, sequence=900))
    session.add_kv(kv_step(snapshot=3, events=1, sequence=901))
    frame = taken(session)
    assert frame is not None
    assert (frame.kv_snapshot, len(frame.kv_events), frame.kv_sequence) == (True, 3, 901)


async def test_commands_wait_while_a_client_leaves_answers_unread() -> None:
    session = SessionStream(1, kv_events=False)
    for number in range(MAX_WAITING_UPDATES):
        await session.until_room()
        session.add(update(f"r{number}", (0, 1), finished=True))
    waiting = asyncio.ensure_future(session.until_room())
    await asyncio.sleep(0)
    assert not waiting.done()
    await session.take()
    await waiting


@given(
    st.lists(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 2), st.integers(1, 9), st.booleans()))),
    st.booleans(),
    st.data(),
)
def test_no_token_is_lost_or_reordered_however_the_client_reads(
    steps: list[list[tuple[str, int, int, bool]]], takes_drawn: bool, data: st.DataObject
) -> None:
    """The last of each tuple: whether the core says it in the lean form, as it may for all but the first tokens."""
    session = SessionStream(1, kv_events=False, drawn=takes_drawn)
    numbers = {number: (name, index) for number, (name, index) in enumerate(product("abc", range(3)))}
    drawers = {key: Drawer(number, *key) for number, key in numbers.items()}
    sent: dict[tuple[str, int], list[int]] = {}
    got: dict[tuple[str, int], list[int]] = {}

    def read() -> None:
        frame = taken(session)
        assert frame is not None
        names = [entry.request_id for entry in frame.updates]
        assert len(names) == len(set(names)), "one update a request"
        assert takes_drawn or not frame.drawn.samples
        for number, token in zip(frame.drawn.samples, frame.drawn.token_ids, strict=True):
            got.setdefault(numbers[number], []).append(token)
        for entry in frame.updates:
            for sample in entry.samples:
                got.setdefault((entry.request_id, sample.index), []).extend(sample.token_ids)

    for number, step in enumerate(steps):
        for name, index, token, lean in step:
            if lean and (name, index) in sent:
                session.add_drawn(drawers[name, index], token)
            else:
                session.add(update(name, (index, token)))
            sent.setdefault((name, index), []).append(token)
        session.end_step(pb.Load(step=number), now_s=number)
        if data.draw(st.booleans()):
            read()
    session.end_step(pb.Load(), now_s=1e9)
    read()
    assert got == sent


def test_an_id_that_is_used_again_is_another_request() -> None:
    session = SessionStream(1, kv_events=False)
    session.add(update("r", (0, 1), finished=True))
    session.add(update("r", (0, 2)))
    frame = taken(session)
    assert frame is not None
    assert [entry.finished for entry in frame.updates] == [True, False]


def test_load_alone_makes_a_frame_only_when_it_is_due() -> None:
    session = SessionStream(1, kv_events=False)
    session.end_step(pb.Load(step=1), now_s=10.0)
    frame = taken(session)
    assert frame is not None
    assert frame.step == 1
    session.end_step(pb.Load(step=2), now_s=10.0 + LOAD_INTERVAL_S / 2)
    assert nothing_waits(session)
    session.end_step(pb.Load(step=3), now_s=10.0 + LOAD_INTERVAL_S)
    frame = taken(session)
    assert frame is not None
    assert frame.load.step == 3


def test_a_load_that_has_not_changed_is_told_as_a_sign_of_life_alone() -> None:
    session = SessionStream(1, kv_events=False)
    session.end_step(pb.Load(step=1), now_s=10.0)
    taken(session)
    for now_s in (11.0, 12.0, 10.0 + SIGN_OF_LIFE_S - 0.1):
        session.end_step(pb.Load(step=1), now_s=now_s)
    assert nothing_waits(session)
    session.end_step(pb.Load(step=1), now_s=10.0 + SIGN_OF_LIFE_S)
    assert taken(session) is not None
    session.end_step(pb.Load(step=2), now_s=11.0 + SIGN_OF_LIFE_S)
    assert taken(session) is not None, "a change is told as soon as ever"


def test_a_drain_is_told_at_once() -> None:
    session = SessionStream(1, kv_events=False)
    session.end_step(pb.Load(), now_s=10.0)
    taken(session)
    session.end_step(pb.Load(draining=True), now_s=10.0, urgent=True)
    frame = taken(session)
    assert frame is not None
    assert frame.draining


def test_kv_events_before_the_snapshot_are_part_of_it() -> None:
    session = SessionStream(1, kv_events=True)
    session.add_kv(kv_step(events=2, sequence=2))
    assert nothing_waits(session)
    session.add_kv(kv_step(snapshot=3, events=1, sequence=3))
    session.add_kv(kv_step(events=1, sequence=4))
    frame = taken(session)
    assert frame is not None
    assert (frame.kv_snapshot, len(frame.kv_events), frame.kv_sequence) == (True, 3 + 1, 4)
    session.add_kv(kv_step(snapshot=3, events=1, sequence=5))  # for another listener
    frame = taken(session)
    assert frame is not None
    assert (frame.kv_snapshot, len(frame.kv_events), frame.kv_sequence) == (False, 1, 5)


def test_a_closed_session_ends_after_its_last_frame() -> None:
    session = SessionStream(1, kv_events=False)
    session.add(update("r", (0, 1), finished=True))
    session.close()
    frame = taken(session)
    assert frame is not None
    assert frame.updates[0].finished
    assert taken(session) is None
