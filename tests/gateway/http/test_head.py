"""Request heads: what is taken, what is refused with which status, and that it does not matter how the bytes come."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pagelet_api.openai.errors import OpenAIError
from pagelet_gateway.http.head import Head, HeadReader
from pagelet_gateway.http.limits import MessageLimits

LIMITS = MessageLimits()
HOST = b"Host: x\r\n"


def read(data: bytes, piece_bytes: int = 10**9) -> Head | None:
    reader, buffer, head = HeadReader(LIMITS), bytearray(), None
    for start in range(0, len(data), piece_bytes):
        buffer += data[start : start + piece_bytes]
        head = head or reader.take(buffer)
    return head


def whole(head: Head | None) -> Head:
    assert head is not None
    return head


def refused(data: bytes, piece_bytes: int = 10**9) -> int:
    with pytest.raises(OpenAIError) as caught:
        read(data, piece_bytes)
    return caught.value.status


def test_a_head_is_read_with_its_framing() -> None:
    head = whole(read(b"POST /v1/x?a=b HTTP/1.1\r\nHOST: x:80\r\nContent-Length: 12 \r\nA:  b\t\r\n\r\n"))
    assert (head.method, head.path, head.query, head.version) == ("POST", b"/v1/x", b"a=b", "1.1")
    assert head.headers == [(b"host", b"x:80"), (b"content-length", b"12"), (b"a", b"b")]
    assert (head.framing, head.keep_alive, head.expects_continue) == (12, True, False)


@pytest.mark.parametrize(
    ("target", "path", "query"),
    [
        (b"/", b"/", b""),
        (b"/a%zz?%", b"/a%zz", b"%"),
        (b"//a//b", b"//a//b", b""),
        (b"/a#b", b"/a", b""),
        (b"http://host:1/a?b", b"/a", b"b"),
        (b"HTTP://host", b"/", b""),
        (b"http://host?b", b"/", b"b"),
    ],
)
def test_a_target_may_be_a_path_or_a_whole_url(target: bytes, path: bytes, query: bytes) -> None:
    head = whole(read(b"GET " + target + b" HTTP/1.1\r\n" + HOST + b"\r\n"))
    assert (head.path, head.query) == (path, query)


def test_an_upgrade_is_only_a_header() -> None:
    upgrade = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEAAEAA\r\n"
    head = whole(read(b"POST / HTTP/1.1\r\n" + HOST + upgrade + b"Content-Length: 80\r\n\r\n"))
    assert (head.framing, head.keep_alive) == (80, True)


def test_chunks_keep_alive_and_expectations_are_seen() -> None:
    head = whole(read(b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: Chunked\r\nExpect: 100-Continue\r\n\r\n"))
    assert (head.framing, head.keep_alive, head.expects_continue) == ("chunked", True, True)
    assert not whole(read(b"GET / HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n")).keep_alive
    assert not whole(read(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")).keep_alive


def test_an_empty_line_before_a_request_is_forgiven_and_many_are_not() -> None:
    assert whole(read(b"\r\n\r\nGET / HTTP/1.1\r\n" + HOST + b"\r\n")).path == b"/"
    assert refused(b"\r\n" * 1000) == 400


def outcome(data: bytes, piece_bytes: int = 10**9) -> Head | int | None:
    """A head, a status, or None where bytes are missing."""
    try:
        return read(data, piece_bytes)
    except OpenAIError as error:
        return error.status


GET = b"GET / HTTP/1.1\r\n"
POST = b"POST / HTTP/1.1\r\n" + HOST
REFUSED = {
    "http 0.9": (b"GET /\r\n", 400),
    "http 0.9 by name": (b"GET / HTTP/0.9\r\n" + HOST + b"\r\n", 505),
    "http 1.2": (b"GET / HTTP/1.2\r\n" + HOST + b"\r\n", 505),
    "http 2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    "tls": (b"\x16\x03\x01\x02\x00\x01\x00", 400),
    "no host": (GET + b"A: b\r\n\r\n", 400),
    "two hosts": (GET + HOST + HOST + b"\r\n", 400),
    "host with a path": (GET + b"Host: a/b\r\n\r\n", 400),
    "host with a space": (GET + b"Host: a b\r\n\r\n", 400),
    "host with a user": (GET + b"Host: a@b\r\n\r\n", 400),
    "two hosts in http 1.0": (b"GET / HTTP/1.0\r\n" + HOST + HOST + b"\r\n", 400),
    "gzip, chunked": (POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n", 501),
    "gzip and chunked in two": (POST + b"Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n", 501),
    "identity": (POST + b"Transfer-Encoding: identity\r\n\r\n", 400),
    "chunked twice": (POST + b"Transfer-Encoding: chunked, chunked\r\n\r\n", 400),
    "an unknown coding": (POST + b"Transfer-Encoding: xchunked\r\n\r\n", 400),
    "chunked in http 1.0": (b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
    "chunks and a length": (POST + b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n", 400),
    "a length and chunks": (POST + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
    "two lengths": (POST + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\n", 400),
    "a list of lengths": (POST + b"Content-Length: 3, 3\r\n\r\n", 400),
    "a signed length": (POST + b"Content-Length: +3\r\n\r\n", 400),
    "a negative length": (POST + b"Content-Length: -3\r\n\r\n", 400),
    "a hexadecimal length": (POST + b"Content-Length: 0x3\r\n\r\n", 400),
    "an empty length": (POST + b"Content-Length:\r\n\r\n", 400),
    "an endless length": (POST + b"Content-Length: " + b"9" * 40 + b"\r\n\r\n", 400),
    "a folded line": (GET + HOST + b"A: b\r\n c\r\n\r\n", 400),
    "a space before the colon": (GET + HOST + b"A : b\r\n\r\n", 400),
    "a nul": (GET + HOST + b"A: b\x00\r\n\r\n", 400),
    "a control character": (GET + HOST + b"A: \x01\r\n\r\n", 400),
    "a bare carriage return": (GET + HOST + b"A: b\rC: d\r\n\r\n", 400),
    "a bare line feed": (GET + HOST + b"A: b\nC: d\r\n\r\n", 400),
    "bare line feeds alone": (b"GET / HTTP/1.1\nHost: x\n\n", 400),
    "a head that ends in bare line feeds": (GET + b"Host: x\n\n", 400),
    "no colon": (GET + HOST + b"abc\r\n\r\n", 400),
    "no name": (GET + HOST + b": b\r\n\r\n", 400),
    "a first line that is folded": (GET + b" A: b\r\n" + HOST + b"\r\n", 400),
    "connect": (b"CONNECT x:1 HTTP/1.1\r\n" + HOST + b"\r\n", 405),
    "connect by url": (b"CONNECT http://x/ HTTP/1.1\r\n" + HOST + b"\r\n", 405),
    "trace": (b"TRACE / HTTP/1.1\r\n" + HOST + b"\r\n", 405),
    "an unknown method": (b"FOO / HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    "a method in lower case": (b"get / HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    "two spaces": (b"GET  / HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    "a tab": (b"GET\t/ HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    "no path": (b"GET x HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    "another scheme": (b"GET ftp://x/ HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    "a byte beyond ascii in the path": (b"GET /\xff HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    "rtsp": (b"DESCRIBE rtsp://x/ RTSP/1.0\r\n" + HOST + b"\r\n", 400),
    "a long path": (b"GET /" + b"x" * LIMITS.target_bytes + b" HTTP/1.1\r\n" + HOST + b"\r\n", 414),
    "an endless path": (b"GET /" + b"x" * 10**6, 414),
    "a long header": (GET + HOST + b"A: " + b"x" * LIMITS.header_bytes + b"\r\n\r\n", 431),
    "an endless header": (GET + HOST + b"A: " + b"x" * 10**6, 431),
    "many headers": (GET + HOST + b"A: b\r\n" * LIMITS.headers + b"\r\n", 431),
    "endless headers": (GET + HOST + b"A: b\r\n" * 20_000, 431),
    "an unknown expectation": (POST + b"Expect: tea\r\n\r\n", 417),
}


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("piece_bytes", [10**9, 1000, 7])
def test_what_is_ambiguous_wrong_or_too_large_is_refused_however_it_arrives(name: str, piece_bytes: int) -> None:
    data, status = REFUSED[name]
    assert refused(data, piece_bytes) == status


def test_the_bounds_themselves_are_taken() -> None:
    path = b"/" + b"x" * (LIMITS.target_bytes - 1)
    headers = b"A: " + b"x" * (LIMITS.header_bytes - 1) + b"\r\n" + b"B: c\r\n" * (LIMITS.headers - 2)
    head = whole(read(b"GET " + path + b" HTTP/1.1\r\n" + HOST + headers + b"\r\n"))
    assert len(head.headers) == LIMITS.headers


def test_a_refusal_says_what_was_found_and_what_to_do() -> None:
    with pytest.raises(OpenAIError, match=r"found 16385\. Send long input in the body"):
        read(REFUSED["a long path"][0])
    with pytest.raises(OpenAIError, match=r"found 129 headers, at most 128 are taken"):
        read(REFUSED["many headers"][0])


@given(st.binary(max_size=400), st.integers(1, 50))
def test_any_bytes_are_a_head_a_refusal_or_not_enough(data: bytes, piece_bytes: int) -> None:
    assert outcome(data, piece_bytes) is None or outcome(data, piece_bytes) in range(400, 506)


@given(
    st.lists(
        st.sampled_from([b"\r\n", b"\n", b" ", b":", b"GET / HTTP/1.1\r\n", HOST, b"A: b\r\n", b"\x00", b"\r\n\r\n"])
    ),
    st.integers(1, 30),
)
def test_how_the_bytes_are_cut_changes_nothing(parts: list[bytes], piece_bytes: int) -> None:
    assert outcome(b"".join(parts), piece_bytes) == outcome(b"".join(parts))
