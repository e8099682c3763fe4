"""Ways to write a request down wrongly: broken JSON, other encodings, wrong headers."""

import gzip
from collections.abc import Callable

from .odd_values import Random, size

_BROKEN_NUMBERS = (
    *("NaN", "Infinity", "-Infinity", "01", "+1", "1.", ".5", "0x10", "1_000", "1e", "--1", "nan", "undefined"),
)

_Spoiled = tuple[bytes, dict[str, str]]


def _truncated(rng: Random, content: bytes) -> _Spoiled:
    return content[: rng.randrange(len(content) + 1)], {}


def _bytes_changed(rng: Random, content: bytes) -> _Spoiled:
    changed = bytearray(content)
    for _ in range(rng.randint(1, 8)):
        changed[rng.randrange(len(changed))] = rng.randrange(256)
    return bytes(changed), {}


def _not_utf8(rng: Random, content: bytes) -> _Spoiled:
    wrong = (b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\xf5\x80\x80\x80", b"\xe2\x82", b"\x80", b"\xf0\x9f")
    at = rng.randrange(len(content))
    return content[:at] + rng.choice(wrong) + content[at:], {}


def _other_encoding(rng: Random, content: bytes) -> _Spoiled:
    text = content.decode("utf-8", "replace")
    name = rng.choice(("utf-8-sig", "utf-16", "utf-16-le", "utf-32", "latin-1", "cp037", "utf-7"))
    charset = {"content-type": f"application/json; charset={name}"} if rng.random() < 0.5 else {}
    return text.encode(name, "replace"), charset


def _name_twice(rng: Random, content: bytes) -> _Spoiled:
    more = rng.choice((b'"model":"sleeper",', b'"":0,"":0,', b'"a":0,' * 1000, b'"max_tokens":1,"max_tokens":2,'))
    return content.replace(b"{", b"{" + more, 1), {}


def _bad_number(rng: Random, content: bytes) -> _Spoiled:
    number = rng.choice(_BROKEN_NUMBERS).encode()
    return content.replace(b"{", b'{"temperature":' + number + b",", 1), {}


def _no_object(rng: Random, content: bytes) -> _Spoiled:
    others = (b"", b" ", b"\n" * 100_000, b"null", b"[]", b'"a"', b"1", b"[" + content + b"]", content + content, b"{}")
    return rng.choice((*others, content + b",", b"\x00", content + b"\x00", b"}" * 9999, b"//\n" + content)), {}


def _content_type(rng: Random, content: bytes) -> _Spoiled:
    types = ("text/plain", "multipart/form-data; boundary=a", "application/x-www-form-urlencoded", "", "é", "a" * 4000)
    return content, {"content-type": rng.choice(types)}


def _content_encoding(rng: Random, content: bytes) -> _Spoiled:
    encoding = rng.choice(("gzip", "deflate", "br", "zstd", "identity", "GZIP", "gzip, gzip", ""))
    packed = gzip.compress(rng.choice((content, b" " * 5_000_000)), 1) if rng.random() < 0.5 else content
    return packed, {"content-encoding": encoding}


def _padded(rng: Random, content: bytes) -> _Spoiled:
    space = rng.choice((b" ", b"\n", b"\t", b"\r\n"))
    return space * size(rng, 1_000_000) + content + space * size(rng, 1_000_000), {}


SPOILERS: dict[str, Callable[[Random, bytes], _Spoiled]] = {
    "truncated": _truncated,
    "bytes changed": _bytes_changed,
    "not UTF-8": _not_utf8,
    "other encoding": _other_encoding,
    "name twice": _name_twice,
    "bad number": _bad_number,
    "no object": _no_object,
    "content type": _content_type,
    "content encoding": _content_encoding,
    "padded": _padded,
}
