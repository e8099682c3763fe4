"""The client against a real socket, whatever the pieces in which the bytes arrive."""

import json
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from client import WrongAnswer, measure, wrong_lengths
from event_stream import BrokenAnswer, read_answer
from workload import Request, Workload

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"


def chunked(*parts: bytes) -> bytes:
    return b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (*parts, b""))


def event(text: str) -> bytes:
    return b"data: " + json.dumps({"choices": [{"text": text}]}).encode() + b"\n\n"


def usage(tokens: int) -> bytes:
    return b"data: " + json.dumps({"choices": [], "usage": {"completion_tokens": tokens}}).encode() + b"\n\n"


def test_an_event_has_the_time_of_the_piece_that_completed_its_line() -> None:
    whole = HEAD + chunked(event("a"), event("b"), b"data: [DONE]\n\n")
    end_of_a = whole.index(b'"a"') + 4
    answer = read_answer([(1.0, whole[:end_of_a]), (2.0, whole[end_of_a:])])
    assert answer.status == 200
    assert [(time_s, event["choices"][0]["text"]) for time_s, event in answer.events] == [(2.0, "a"), (2.0, "b")]


def test_bytes_one_by_one_give_the_same_events() -> None:
    whole = HEAD + chunked(event("a"), event("b"), usage(2))
    pieces = [(float(i), whole[i : i + 1]) for i in range(len(whole))]
    assert [event for _, event in read_answer(pieces).events] == [
        event for _, event in read_answer([(0.0, whole)]).events
    ]


def test_an_event_that_is_no_json_is_named() -> None:
    with pytest.raises(BrokenAnswer, match="nonsense"):
        read_answer([(0.0, HEAD + chunked(b"data: nonsense\n\n"))])


def test_times_every_request_of_a_workload() -> None:
    workload = Workload("two", (Request((1, 2), 2), Request((3,), 2)))
    with serving(HEAD + chunked(event("a"), event("b"), usage(2), b"data: [DONE]\n\n")) as url:
        measured = measure(url, "m", workload)
    assert measured.output_tokens == 4
    assert 0 < measured.first_token_s <= measured.wall_s
    assert wrong_lengths(workload, measured) == []


def test_a_short_answer_is_an_error_unless_it_may_be_named_instead() -> None:
    workload = Workload("one", (Request((1, 2), 3),))
    with serving(HEAD + chunked(event("a"), usage(1))) as url:
        with pytest.raises(WrongAnswer, match="wanted 3 tokens, got 1"):
            measure(url, "m", workload)
        assert wrong_lengths(workload, measure(url, "m", workload, exact=False)) == [(3, 1)]


def test_a_refusal_is_told_with_its_text() -> None:
    refusal = b"HTTP/1.1 404 Not Found\r\nContent-Length: 9\r\nConnection: close\r\n\r\nno such m"
    with serving(refusal) as url, pytest.raises(WrongAnswer, match="status 404: no such m"):
        measure(url, "m", Workload("one", (Request((1,), 1),)))


def test_a_server_that_is_not_there_is_named() -> None:
    with pytest.raises(WrongAnswer, match=r"http://127\.0\.0\.1:1"):
        measure("http://127.0.0.1:1", "m", Workload("one", (Request((1,), 1),)))


@contextmanager
def serving(answer: bytes) -> Iterator[str]:
    """A server that reads a request with its body, and gives everybody the same answer."""

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            length = 0
            while (line := self.rfile.readline().strip()) != b"":
                if line.lower().startswith(b"content-length:"):
                    length = int(line.partition(b":")[2])
            assert json.loads(self.rfile.read(length))["ignore_eos"]
            self.wfile.write(answer)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()
