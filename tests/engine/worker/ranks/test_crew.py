"""How ranks find each other, and how whoever does not belong is turned away: threads over real sockets."""

import socket
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace

import pytest
from pagelet_engine.worker.ranks.crew import Crew, CrewError, Lines
from pagelet_engine.worker.ranks.follower import FollowerError, join_line
from pagelet_engine.worker.ranks.line import Line, LineClosed
from pagelet_engine.worker.ranks.messages import (
    NO_MORE_STEPS,
    Beat,
    Failure,
    Hello,
    Welcome,
    decode_step,
    encode_json,
    encode_news,
)
from pagelet_engine.worker.ranks.place import Place
from pagelet_engine.worker.ranks.watch import Watch

HELLO = Hello(0, 3, "pod 0, pid 1", {"model": "sha256:ab"})
PATIENCE_S = 20.0
LIMIT_S = 1.0


class Ranks:
    """Rank 0 of three, each in a pod of its own; threads play the others."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.verdicts: list[str] = []
        self.has_ended = threading.Event()
        self.crew = Crew(
            Place(3, 3, 0, "localhost"), HELLO, lambda rank, port: [], LIMIT_S, self._end, self.said.append
        )

    def _end(self, sentence: str) -> None:
        self.verdicts.append(sentence)
        self.has_ended.set()

    def hello(self, rank: int) -> Hello:
        return replace(HELLO, rank=rank, where=f"pod {rank}, pid 1")

    def join(self, hello: Hello) -> tuple[Line, Welcome]:
        return join_line("127.0.0.1", self.crew.port, hello, lambda sentence: None, PATIENCE_S)

    @contextmanager
    def gathering(self) -> Iterator["Future[tuple[Lines, Watch]]"]:
        """Rank 0 waits for the others meanwhile."""
        with ThreadPoolExecutor() as pool:
            yield pool.submit(self.crew.gather, PATIENCE_S, 0.05)

    def gather(self) -> tuple[dict[int, Line], Lines, Watch]:
        """All are there: (the others' ends of the lines, rank 0's, the watch)."""
        with self.gathering() as gathered:
            lines = {rank: self.join(self.hello(rank))[0] for rank in (2, 1)}
            return lines, *gathered.result()


@pytest.fixture
def ranks() -> Iterator[Ranks]:
    ranks = Ranks()
    with ranks.crew:
        yield ranks


def hear_all(line: Line) -> list[tuple[int, bytes]]:
    """The steps that a rank is told until there are no more; then it hangs up."""
    steps = [decode_step(frame) for frame in iter(line.receive, NO_MORE_STEPS)]
    line.close()
    return steps


def test_ranks_that_come_in_any_order_hear_every_step_in_order_and_then_the_end() -> None:
    ranks = Ranks()
    steps = [(number, bytes([number]) * number) for number in range(1, 100)]
    with ThreadPoolExecutor() as pool:
        with ranks.crew:
            others, lines, _ = ranks.gather()
            heard = [pool.submit(hear_all, line) for line in others.values()]
            for number, header in steps:
                lines.send(number, header)
        assert [each.result() for each in heard] == [steps, steps]
    assert not ranks.verdicts


def test_all_are_told_where_the_process_group_meets(ranks: Ranks) -> None:
    with ranks.gathering():
        ports = {ranks.join(ranks.hello(rank))[1].store_port for rank in (1, 2)}
    assert ports == {ranks.crew.meeting.store_port} == {ranks.crew.store.getsockname()[1]}


def test_a_rank_that_does_not_belong_is_told_why_and_the_others_are_waited_for(ranks: Ranks) -> None:
    with ranks.gathering() as gathered:
        line, _ = ranks.join(ranks.hello(1))
        for stranger, why in (
            (ranks.hello(1), "rank 1 is on the line already"),
            (replace(ranks.hello(2), size=2), "wanted a rank from 1 to 2 of 3, found rank 2 of 2"),
            (replace(ranks.hello(2), facts={}), "model: wanted sha256:ab as on rank 0, found nothing on rank 2"),
        ):
            with pytest.raises(FollowerError, match=f"refuses this rank: {why}"):
                ranks.join(stranger)
            assert any(f"refused a rank at 127.0.0.1: {why}" in sentence for sentence in ranks.said)
        other, _ = ranks.join(ranks.hello(2))
        assert gathered.result()
    line.close()
    other.close()


@pytest.mark.parametrize("noise", [b"GET / HTTP/1.1\r\n\r\n", b"", encode_json(HELLO), b"\2\0\0\0{}"])
def test_a_stranger_on_the_port_does_no_harm(noise: bytes, ranks: Ranks) -> None:
    with socket.create_connection(("127.0.0.1", ranks.crew.port)) as stranger:
        stranger.sendall(noise)
    others, *_ = ranks.gather()
    assert len(others) == 2
    assert any("refused a rank at 127.0.0.1" in sentence for sentence in ranks.said)


def test_whoever_waits_says_for_whom_and_not_for_ever(ranks: Ranks) -> None:
    with pytest.raises(CrewError, match=r"waited 0.3 s for ranks 1 and 2 of 3"):
        ranks.crew.gather(patience_s=0.3, tell_s=0.1)
    assert ranks.said[0].startswith("waiting for ranks 1 and 2 of 3 since ")
    said: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with pytest.raises(FollowerError, match=f"waited 0.5 s for rank 0 at 127.0.0.1:{port}: Connection refused"):
        join_line("127.0.0.1", port, ranks.hello(1), said.append, patience_s=0.5, tell_s=0.1)
    assert said[0].startswith(f"waiting for rank 0 at 127.0.0.1:{port} since ")


def test_a_process_that_ends_before_it_was_on_the_line_is_told() -> None:
    with (
        Crew(Place(2), HELLO, lambda rank, port: [sys.executable, "-c", "exit(3)"], 30.0, print, print) as crew,
        pytest.raises(CrewError, match="rank 1 of 2 exited with code 3 before it was on the line"),
    ):
        crew.gather(PATIENCE_S)


def test_a_port_that_is_taken_is_told() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        pytest.raises(CrewError, match=r"cannot listen for the other ranks on 127\.0\.0\.1:\d+"),
    ):
        Crew(Place(2), HELLO, lambda rank, port: [], 30.0, print, print, port=taken.getsockname()[1])


# ---- the watch ---------------------------------------------------------------------------------------------------


def test_a_line_that_closes_is_a_death_also_where_nothing_is_computed(ranks: Ranks) -> None:
    others, _, watch = ranks.gather()
    others[2].close()
    assert (watch.explain(PATIENCE_S) or "").startswith("rank 2 of 3 (pod 2, pid 1) is gone")
    assert ranks.has_ended.wait(PATIENCE_S)
    assert ranks.verdicts == [watch.explain(0)]


def test_a_rank_that_says_nothing_any_more_hangs(ranks: Ranks) -> None:
    others, _, watch = ranks.gather()
    watch.begin(1)
    while not ranks.has_ended.is_set():
        others[1].send(encode_news(Beat(1, 0)))
        time.sleep(LIMIT_S / 10)
    assert ranks.verdicts[0].startswith("rank 2 of 3 (pod 2, pid 1) hangs in step 1: silent for")


def test_ranks_that_beat_and_go_on_are_left_alone(ranks: Ranks) -> None:
    others, _, watch = ranks.gather()
    until_s = time.monotonic() + 2 * LIMIT_S
    step = 0
    while time.monotonic() < until_s:
        step += 1
        watch.begin(step)
        for line in others.values():
            line.send(encode_news(Beat(step, step)))
        watch.end(step)
        time.sleep(LIMIT_S / 50)
    assert watch.explain(0) is None


def test_the_words_of_a_rank_that_failed_are_told(ranks: Ranks) -> None:
    others, _, watch = ranks.gather()
    others[1].send(encode_news(Failure("ValueError: on fire")))
    others[1].close()
    assert (
        watch.explain(PATIENCE_S) == "rank 1 of 3 (pod 1, pid 1) failed while the model was loaded: ValueError: on fire"
    )


def test_a_step_cannot_be_sent_to_whoever_is_gone(ranks: Ranks) -> None:
    others, lines, watch = ranks.gather()
    others[1].close()
    watch.explain(PATIENCE_S)
    lines.send(1, b"lost")  # it takes this much to be told that nobody is there
    with pytest.raises(LineClosed):
        send_until_told(lines)


def send_until_told(lines: Lines) -> None:
    until_s = time.monotonic() + PATIENCE_S
    while time.monotonic() < until_s:
        lines.send(2, b"lost")
