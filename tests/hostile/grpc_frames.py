"""Calls that no honest gateway makes, as bytes: drawn from a seed, so that a failure can be had again.

Owns what is sent; refuses to know what should come back.
"""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from pagelet_api import inference_pb2 as pb

Messages = list[bytes]

UNARY = ("GetModelInfo", "GetLoad", "Embed", "LoadAdapter", "UnloadAdapter", "GetTokenizer")
"""Drain is left out: bytes of any kind may be a valid one, and the engine is needed."""

NAMES = (
    "",
    "a",
    "a" * 128,
    "a" * 129,
    "größe",
    "\u202e\u200b",
    "\x00",
    "line\nbreak",
    "😀" * 40,
    "x" * 50_000,
    "../..",
)
NUMBERS = (0, 1, 2, 127, 128, 2**16, 2**31 - 1, 2**31, 2**32 - 1)
FLOATS = (0.0, -0.0, 1.0, -1.0, 1e-45, 3e38, float("inf"), float("-inf"), float("nan"))


@dataclass(frozen=True)
class Call:
    """One RPC: what is sent on it before its client says that nothing follows."""

    kind: str
    method: str
    messages: Messages


def calls(seed: int, count: int) -> Iterator[Call]:
    """`count` calls of all kinds in turn."""
    for number in range(count):
        kind, make = list(_KINDS.items())[number % len(_KINDS)]
        method, messages = make(random.Random(f"{seed} {number}"), f"h{seed}-{number}")
        yield Call(kind, method, messages)


def field(number: int, body: bytes) -> bytes:
    """A length-delimited field."""
    return _varint(number << 3 | 2) + _varint(len(body)) + body


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


# ---- commands --------------------------------------------------------------------------------------------------------


def _hello(draw: random.Random) -> pb.SessionCommand:
    name = draw.choice(NAMES)
    hello = pb.SessionHello(gateway=name, kv_events=draw.random() < 0.5, drawn=draw.random() < 0.5)
    return pb.SessionCommand(hello=hello)


def _request(draw: random.Random, name: str) -> pb.GenerateRequest:
    """Valid, but for a few fields."""
    items = [pb.PromptItem(token_ids=pb.TokenIds(ids=draw.choices(range(100_000), k=draw.choice((1, 3, 40)))))]
    request = pb.GenerateRequest(request_id=name, prompt=items)
    request.sampling.max_tokens = draw.choice((1, 5, 50))
    for _ in range(draw.randrange(4)):
        draw.choice(_SPOILERS)(draw, request)
    return request


def _number(draw: random.Random, request: pb.GenerateRequest) -> None:
    name = draw.choice(("n", "max_tokens", "min_tokens", "top_k", "seed", "logprobs", "prompt_logprobs", "deadline_ms"))
    setattr(request if name == "deadline_ms" else request.sampling, name, draw.choice(NUMBERS))


def _float(draw: random.Random, request: pb.GenerateRequest) -> None:
    name = draw.choice(("temperature", "top_p", "min_p", "repetition_penalty", "presence_penalty", "frequency_penalty"))
    setattr(request.sampling, name, draw.choice(FLOATS))


def _name(draw: random.Random, request: pb.GenerateRequest) -> None:
    setattr(request, draw.choice(("request_id", "tenant", "cache_salt", "adapter")), draw.choice(NAMES))


def _ids(draw: random.Random, request: pb.GenerateRequest) -> None:
    ids = draw.choices(NUMBERS, k=draw.choice((1, 64, 65, 2000)))
    draw.choice((request.sampling.stop_token_ids, request.prompt.add().token_ids.ids)).extend(ids)


def _bias(draw: random.Random, request: pb.GenerateRequest) -> None:
    for token in range(draw.choice((1, 1024, 1025, 5000))):
        request.sampling.logit_bias[token] = draw.choice(FLOATS)


def _media(draw: random.Random, request: pb.GenerateRequest) -> None:
    request.prompt.add().media.data = draw.randbytes(1000)


def _grammar(draw: random.Random, request: pb.GenerateRequest) -> None:
    request.sampling.grammar.regex = "(a*)*" * 100


def _empty(draw: random.Random, request: pb.GenerateRequest) -> None:
    del request.prompt[:]
    for _ in range(draw.choice((0, 1, 5000))):
        request.prompt.add()


_SPOILERS = (_number, _float, _name, _ids, _bias, _media, _grammar, _empty)


def _command(draw: random.Random, name: str) -> pb.SessionCommand:
    match draw.randrange(8):
        case 0:
            return _hello(draw)
        case 1:
            return pb.SessionCommand()
        case 2 | 3:
            return pb.SessionCommand(
                abort=pb.Abort(
                    request_id=draw.choice((name, *NAMES)), samples=draw.choices(NUMBERS, k=draw.choice((0, 1, 200)))
                )
            )
        case _:
            return pb.SessionCommand(generate=_request(draw, draw.choice((name, name, f"{name}-{draw.randrange(9)}"))))


# ---- kinds of calls --------------------------------------------------------------------------------------------------


def _session(draw: random.Random, name: str) -> tuple[str, Messages]:
    """Commands in any order, after a hello for the most part."""
    commands = [_command(draw, name) for _ in range(draw.randrange(12))]
    if draw.random() < 0.8:
        commands.insert(0, _hello(draw))
    return "Session", [command.SerializeToString() for command in commands]


def _same_id(draw: random.Random, name: str) -> tuple[str, Messages]:
    generate = pb.SessionCommand(generate=_request(draw, name)).SerializeToString()
    return "Session", [_hello(draw).SerializeToString(), *[generate] * 30]


def _generate(draw: random.Random, name: str) -> tuple[str, Messages]:
    return "Generate", [_request(draw, name).SerializeToString()]


def _noise(draw: random.Random, name: str) -> tuple[str, Messages]:
    noise = [draw.randbytes(draw.choice((1, 7, 100, 5000))) for _ in range(3)]
    if draw.random() < 0.5:
        return draw.choice(("Generate", *UNARY)), noise[:1]
    return "Session", [*([_hello(draw).SerializeToString()] if draw.random() < 0.5 else []), *noise]


def _flipped(draw: random.Random, name: str) -> tuple[str, Messages]:
    """A valid message with a few wrong bytes, or cut short."""
    message = bytearray(pb.SessionCommand(generate=_request(draw, name)).SerializeToString())
    for _ in range(draw.randrange(1, 6)):
        message[draw.randrange(len(message))] = draw.randrange(256)
    return "Session", [_hello(draw).SerializeToString(), bytes(message[: draw.randrange(1, len(message) + 1)])]


def _counts(draw: random.Random, name: str) -> tuple[str, Messages]:
    """The cheapest element of a kind, as many as fit: within the engine's bound, beyond it, and beyond gRPC's."""
    element, wrap = draw.choice(_ELEMENTS)
    size = draw.choice((30_000, 300_000, 1_000_000, 9_000_000))
    body = wrap(element * (size // len(element)))
    return "Session", [_hello(draw).SerializeToString(), body]


def _in_generate(body: bytes) -> bytes:
    return field(2, body)


def _in_sampling(body: bytes) -> bytes:
    return field(2, field(3, body))


def _in_prompt(body: bytes) -> bytes:
    return field(2, field(2, field(1, body)))


def _in_abort(body: bytes) -> bytes:
    return field(3, body)


def _bare(body: bytes) -> bytes:
    return body


_ELEMENTS: tuple[tuple[bytes, Callable[[bytes], bytes]], ...] = (
    (b"\x12\x00", _in_generate),  # empty prompt items
    (b"\x12\x02\x0a\x00", _in_generate),  # items without ids
    (b"\x12\x04\x0a\x02\x08\x01", _in_generate),  # items of one id
    (b"\x08\x01", _in_prompt),  # ids, each in a field of its own
    (b"\x0a\x01\x01", _in_prompt),  # and in runs of one
    (b"\x5a\x00", _in_sampling),  # biases of token 0
    (b"\x68\x01", _in_sampling),  # stops
    (b"\x0a\x01a", _in_generate),  # the id again and again
    (b"\x10\x01", _in_abort),  # samples
    (b"\x12\x00\x1a\x00", _bare),  # commands in turn: the last one counts
    (b"\x78\x01", _bare),  # fields that do not exist
    (b"\x7b\x7c", _in_generate),  # groups that do not exist
)


def _unknown(draw: random.Random, name: str) -> tuple[str, Messages]:
    """Fields that do not exist, wrong wire types, and what is nested where it should not be."""
    request = _request(draw, name).SerializeToString() + field(draw.randrange(18, 5000), draw.randbytes(50))
    spoiled = draw.choice((field(2, request), field(2, field(3, request)), b"\x08\x01" + request, field(9, request)))
    nested = b""
    for _ in range(draw.choice((0, 90, 120, 5000))):
        nested = field(2, nested)
    return "Session", [_hello(draw).SerializeToString(), spoiled, nested]


def _other_method(draw: random.Random, name: str) -> tuple[str, Messages]:
    message = draw.choice((_request(draw, name), _hello(draw), _command(draw, name))).SerializeToString()
    return draw.choice((*UNARY, "Nothing", "generate", "")), [message]


_KINDS: dict[str, Callable[[random.Random, str], tuple[str, Messages]]] = {
    "commands in any order": _session,
    "one request": _generate,
    "one id again and again": _same_id,
    "noise": _noise,
    "wrong bytes": _flipped,
    "huge counts": _counts,
    "unknown fields": _unknown,
    "another method's message": _other_method,
}
