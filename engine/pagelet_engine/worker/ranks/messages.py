"""What ranks say to each other on the line, as bytes and back. Pure; JSON once, a few fixed bytes afterwards.

A follower says Hello, is answered with Welcome or Refusal, and from then on says Beat and at most one Failure. Rank 0
says steps: their number, and a header that nothing here looks into. An empty frame means that there are no more.
"""

import json
import struct
from collections.abc import Mapping
from dataclasses import asdict, dataclass

NO_MORE_STEPS = b""
_NUMBER = struct.Struct("<q")
_BEAT = struct.Struct("<qq")
_IS_BEAT, _IS_FAILURE = b".", b"!"


class Nonsense(Exception):
    """Bytes that no rank of this release says."""


@dataclass(frozen=True, slots=True)
class Hello:
    rank: int
    size: int
    where: str
    """The process, in words."""
    facts: Mapping[str, str]
    """What must be the same on all ranks, by name."""


@dataclass(frozen=True, slots=True)
class Welcome:
    store_port: int
    """Where the process group meets, on rank 0's host."""


@dataclass(frozen=True, slots=True)
class Refusal:
    sentence: str


@dataclass(frozen=True, slots=True)
class Beat:
    """A sign of life."""

    begun: int
    """The last step that was begun, and the last that was ended; 0: none."""
    ended: int


@dataclass(frozen=True, slots=True)
class Failure:
    sentence: str


def encode_json(message: Hello | Welcome | Refusal) -> bytes:
    return json.dumps(asdict(message)).encode()


def decode_hello(data: bytes) -> Hello:
    """Raises Nonsense."""
    match _json(data):
        case {"rank": int(rank), "size": int(size), "where": str(where), "facts": dict(facts)}:
            return Hello(rank, size, where, {str(name): str(fact) for name, fact in facts.items()})
    raise Nonsense(f"wanted a rank's hello, found {data[:40]!r}")


def decode_answer(data: bytes) -> Welcome | Refusal:
    """Raises Nonsense."""
    match _json(data):
        case {"store_port": int(port)}:
            return Welcome(port)
        case {"sentence": str(sentence)}:
            return Refusal(sentence)
    raise Nonsense(f"wanted rank 0's answer to a hello, found {data[:40]!r}")


def _json(data: bytes) -> object:
    try:
        return json.loads(data)
    except ValueError as error:
        raise Nonsense(f"wanted JSON, found {data[:40]!r}") from error


def encode_news(news: Beat | Failure) -> bytes:
    if isinstance(news, Failure):
        return _IS_FAILURE + news.sentence.encode()
    return _IS_BEAT + _BEAT.pack(news.begun, news.ended)


def decode_news(data: bytes) -> Beat | Failure:
    """Raises Nonsense."""
    kind, rest = data[:1], data[1:]
    if kind == _IS_FAILURE:
        return Failure(rest.decode(errors="replace"))
    if kind == _IS_BEAT and len(rest) == _BEAT.size:
        return Beat(*_BEAT.unpack(rest))
    raise Nonsense(f"wanted a beat or a failure, found {data[:40]!r}")


def encode_step(number: int, header: bytes) -> bytes:
    return _NUMBER.pack(number) + header


def decode_step(data: bytes) -> tuple[int, bytes]:
    """(number, header). Raises Nonsense."""
    if len(data) < _NUMBER.size:
        raise Nonsense(f"wanted a step's number, found {len(data)} bytes")
    return _NUMBER.unpack_from(data)[0], data[_NUMBER.size :]


def disagreement(ours: Hello, theirs: Hello) -> str | None:
    """Why a rank that says `theirs` cannot compute with rank 0, which would say `ours`."""
    if theirs.size != ours.size or not 0 < theirs.rank < ours.size:
        return f"wanted a rank from 1 to {ours.size - 1} of {ours.size}, found rank {theirs.rank} of {theirs.size}"
    for name, fact in ours.facts.items():
        if (found := theirs.facts.get(name, "nothing")) != fact:
            return f"{name}: wanted {fact} as on rank 0, found {found} on rank {theirs.rank}; give all ranks the same"
    return None
