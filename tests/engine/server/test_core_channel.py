"""The core's end of the pipe, on a real socket pair."""

import socket
import threading
import time
from collections.abc import Iterator

import pytest
from pagelet_engine.framing import FrameDecoder, frame_prefix
from pagelet_engine.server.core_channel import CoreChannel, PipeClosed


@pytest.fixture
def ends() -> Iterator[tuple[CoreChannel, socket.socket]]:
    """The channel, and the front's socket."""
    ours, theirs = socket.socketpair()
    yield CoreChannel(ours, max_unsent_bytes=4 * 2**20), theirs
    ours.close()
    theirs.close()


def framed(payload: bytes) -> bytes:
    return frame_prefix(payload) + payload


def test_frames_arrive_in_order(ends: tuple[CoreChannel, socket.socket]) -> None:
    channel, front = ends
    front.sendall(framed(b"one") + framed(b"two") + framed(b"three")[:5])
    assert channel.receive(0) == [b"one", b"two"]
    front.sendall(framed(b"three")[5:])
    assert channel.receive(10) == [b"three"]


def test_receiving_waits_no_longer_than_asked(ends: tuple[CoreChannel, socket.socket]) -> None:
    channel, _ = ends
    began_s = time.monotonic()
    assert channel.receive(0) == []
    assert channel.receive(0.02) == []
    assert 0.02 <= time.monotonic() - began_s < 5


def test_receiving_wakes_with_the_first_bytes(ends: tuple[CoreChannel, socket.socket]) -> None:
    channel, front = ends
    threading.Timer(0.01, lambda: front.sendall(framed(b"hello"))).start()
    assert channel.receive(30) == [b"hello"]


def test_sending_never_waits_for_the_reader_and_loses_nothing(ends: tuple[CoreChannel, socket.socket]) -> None:
    channel, front = ends
    frames = [bytes([number]) * 50_000 for number in range(40)]  # far more than the socket holds
    for frame in frames:
        channel.send(frame)
    decoder, received = FrameDecoder(), []
    while len(received) < len(frames):
        received += decoder.feed(front.recv(1 << 16))
        channel.receive(0)
    assert received == frames


def test_a_reader_that_is_stuck_is_given_up(ends: tuple[CoreChannel, socket.socket]) -> None:
    channel, _ = ends

    def send_ten_megabytes() -> None:
        for _ in range(200):
            channel.send(b"x" * 50_000)

    with pytest.raises(PipeClosed, match="stuck"):
        send_ten_megabytes()


def test_a_front_that_has_gone_is_noticed(ends: tuple[CoreChannel, socket.socket]) -> None:
    channel, front = ends
    channel.check_open()
    front.close()
    with pytest.raises(PipeClosed):
        channel.check_open()
    with pytest.raises(PipeClosed):
        channel.receive(0)
    with pytest.raises(PipeClosed):
        channel.send(b"x")


def test_closing_sends_what_is_left(ends: tuple[CoreChannel, socket.socket]) -> None:
    channel, front = ends
    payload = b"last words" * 100_000
    received = bytearray()

    def read() -> None:
        while piece := front.recv(1 << 16):
            received.extend(piece)

    reader = threading.Thread(target=read)
    channel.send(payload)
    reader.start()
    channel.close(patience_s=30)
    reader.join()
    assert bytes(received) == framed(payload)
