"""Bodies: their ends, however the bytes come, and bounds on what is no content."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pagelet_api.openai.errors import OpenAIError
from pagelet_gateway.http.framing import incoming_body
from pagelet_gateway.http.head import CHUNKED, Framing
from pagelet_gateway.http.limits import MessageLimits

LIMITS = MessageLimits()


def read(framing: Framing, data: bytes, piece_bytes: int = 10**9) -> tuple[bytes, bool, bytes]:
    """Content, whether it is complete, and what follows."""
    body, buffer, content = incoming_body(framing, LIMITS), bytearray(), b""
    for start in range(0, len(data), piece_bytes):
        buffer += data[start : start + piece_bytes]
        if not body.complete:
            content += body.take(buffer)
    return content, body.complete, bytes(buffer)


@given(st.binary(max_size=100), st.integers(0, 120), st.integers(1, 50))
def test_a_sized_body_ends_at_its_length(data: bytes, length: int, piece_bytes: int) -> None:
    assert read(length, data, piece_bytes) == (data[:length], len(data) >= length, data[length:])


@given(st.lists(st.binary(min_size=1, max_size=40)), st.binary(max_size=20), st.integers(1, 30))
def test_chunks_are_joined_and_what_follows_is_left(chunks: list[bytes], after: bytes, piece_bytes: int) -> None:
    data = b"".join(b"%x;ext=1\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\nT: railer\r\n\r\n"
    assert read(CHUNKED, data + after, piece_bytes) == (b"".join(chunks), True, after)


REFUSED = {
    "a size that is none": (b"x\r\n", 400),
    "a negative size": (b"-1\r\n", 400),
    "a prefixed size": (b"0x1\r\n", 400),
    "an empty size": (b"\r\n", 400),
    "a size of seventeen digits": (b"1" * 17 + b"\r\n", 400),
    "a bare line feed": (b"1\na\r\n", 400),
    "a space before the size": (b" 1\r\na\r\n", 400),
    "a chunk that is too long": (b"1\r\nab\r\n0\r\n\r\n", 400),
    "a nul in an extension": (b"1;\x00\r\na\r\n", 400),
    "an endless extension": (b"1;" + b"x" * 10_000, 400),
    "an endless size": (b"0" * 10_000, 400),
    "endless trailers": (b"0\r\n" + b"A: b\r\n" * 10_000, 431),
    "one endless trailer": (b"0\r\nA: " + b"x" * 100_000, 431),
    "a trailer that is no header": (b"0\r\nabc\r\n\r\n", 400),
    "a folded trailer": (b"0\r\nA: b\r\n c\r\n\r\n", 400),
    "tiny chunks": (b"1\r\nx\r\n" * 20_000, 413),
}


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("piece_bytes", [10**9, 13])
def test_chunks_that_are_ambiguous_or_mostly_frame_are_refused(name: str, piece_bytes: int) -> None:
    data, status = REFUSED[name]
    with pytest.raises(OpenAIError) as caught:
        read(CHUNKED, data, piece_bytes)
    assert caught.value.status == status


def test_a_large_body_in_small_but_sensible_chunks_is_taken() -> None:
    chunk = b"x" * 128
    content, complete, _ = read(CHUNKED, (b"80\r\n" + chunk + b"\r\n") * 30_000 + b"0\r\n\r\n", 2**18)
    assert (len(content), complete) == (128 * 30_000, True)


@given(st.binary(max_size=200), st.integers(1, 20))
def test_any_bytes_are_content_a_refusal_or_not_enough(data: bytes, piece_bytes: int) -> None:
    def outcome(piece: int) -> object:
        try:
            return read(CHUNKED, data, piece)
        except OpenAIError as error:
            return error.status

    assert outcome(piece_bytes) == outcome(10**9)
