"""What clients may cost the front, and which requests are ended when they cost more. Pure."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from pagelet_engine.server.streams import Stream
from pagelet_engine.server.unread import Unread

_READ_FASTER = "read faster, or ask for fewer samples or logprobs"

AnyStream = TypeVar("AnyStream", bound=Stream)


@dataclass(frozen=True, slots=True)
class Bounds:
    """Bytes are counted as they are sent; in memory they are about twice as many."""

    max_requests: int
    """In the table. The core refuses what its queue cannot hold, but only between steps: meanwhile the table grows."""
    max_lag_bytes: int = 32 * 2**20
    """By which a client may lag behind in one request: 10 s of 128 samples with 20 logprobs each at 100 steps/s."""
    max_unread_bytes: int = 128 * 2**20
    """Of all clients together: more than twice what 256 sequences with 20 logprobs generate in those 10 s."""


def lagging(stream: Stream, bounds: Bounds) -> Iterator[tuple[Unread, str]]:
    """Requests in which the stream's client lags too far behind, each with the sentence that ends it."""
    most = bounds.max_lag_bytes
    for unread in stream.unread():
        if unread.lag_bytes > most:
            sentence = (
                f"this request is ended: its client left {unread.lag_bytes} bytes of it unread, at most {most} are "
                f"kept for a request; {_READ_FASTER}"
            )
            yield unread, sentence


def holding_most(streams: Iterable[AnyStream], bounds: Bounds) -> Iterator[tuple[AnyStream, Unread, str]]:
    """While all clients together leave too much unread: the requests that hold the most of it, with the sentence."""
    streams, most = list(streams), bounds.max_unread_bytes
    total = left = sum(stream.unread_bytes for stream in streams)
    if total <= most:
        return
    found = [(unread.num_bytes, stream, unread) for stream in streams for unread in stream.unread()]
    for num_bytes, stream, unread in sorted(found, key=lambda each: each[0], reverse=True):
        if left <= most:
            return
        left -= num_bytes
        sentence = (
            f"this request is ended: clients left {total} bytes unread, at most {most} are kept for all of them, and "
            f"this request held {num_bytes}, more than those that go on; {_READ_FASTER}"
        )
        yield stream, unread, sentence
