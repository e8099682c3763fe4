"""`pagelet chat` against a server that speaks OpenAI's protocol and says one thing."""

import contextlib
import json
import os
import pty
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from .conftest import Desk

WORDS = ("Grüße ", "aus ", "Paris.")


@dataclass
class FakeEndpoint:
    url: str = ""
    requests: list[dict[str, Any]] = field(default_factory=list)
    error: dict[str, Any] | None = None


@pytest.fixture
def endpoint() -> Iterator[FakeEndpoint]:
    fake = FakeEndpoint()

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._send(
                200, "application/json", json.dumps({"object": "list", "data": [{"id": "m", "object": "model"}]})
            )

        def do_POST(self) -> None:
            fake.requests.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            if fake.error:
                self._send(400, "application/json", json.dumps({"error": fake.error}))
                return
            chunks: list[dict[str, Any]] = [
                {"choices": [{"index": 0, "delta": {"content": word}, "finish_reason": None}]} for word in WORDS
            ]
            chunks.append({"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 3, "total_tokens": 4}})
            head = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"}
            events = "".join(f"data: {json.dumps(head | chunk)}\n\n" for chunk in chunks)
            self._send(200, "text/event-stream", f"{events}data: [DONE]\n\n")

        def _send(self, status: int, content_type: str, body: str) -> None:
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        fake.url = f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield fake
        server.shutdown()


def chat(desk: Desk, endpoint: FakeEndpoint, *arguments: str, said: str = "") -> subprocess.CompletedProcess[str]:
    return desk.run("chat", "--url", endpoint.url, *arguments, said=said)


def in_a_terminal(desk: Desk, typed: str, *arguments: str) -> str:
    """Give the command in a terminal of its own, type, and return all that the screen showed."""
    controller, terminal = pty.openpty()
    command = [sys.executable, "-m", "pagelet_operator.cli", *arguments]
    process = subprocess.Popen(command, env=desk.environment, stdin=terminal, stdout=terminal, stderr=terminal)
    os.close(terminal)
    os.write(controller, typed.encode())
    screen = b""
    with contextlib.suppress(OSError):  # a terminal nobody writes to any more is an error to read from
        while piece := os.read(controller, 4096):
            screen += piece
    os.close(controller)
    assert process.wait(30) == 0, screen.decode()
    return screen.decode()


def test_one_message_is_answered_by_the_first_model(desk: Desk, endpoint: FakeEndpoint) -> None:
    result = chat(desk, endpoint, "-m", "Hello!", "--system", "Be brief.")
    assert (result.returncode, result.stdout, result.stderr) == (0, "Grüße aus Paris.\n", "")
    [request] = endpoint.requests
    assert request["model"] == "m"
    assert request["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hello!"},
    ]


def test_a_pipe_is_one_message_with_all_its_lines(desk: Desk, endpoint: FakeEndpoint) -> None:
    assert chat(desk, endpoint, said="first\nsecond\n").stdout == "Grüße aus Paris.\n"
    [request] = endpoint.requests
    assert request["messages"] == [{"role": "user", "content": "first\nsecond"}]


def test_the_url_may_end_in_v1_and_the_model_may_be_chosen(desk: Desk, endpoint: FakeEndpoint) -> None:
    result = desk.run("chat", "--url", f"{endpoint.url}/v1/", "--model", "other", "-m", "x")
    assert result.returncode == 0
    assert endpoint.requests[0]["model"] == "other"


def test_a_conversation_remembers_until_it_is_reset(desk: Desk, endpoint: FakeEndpoint) -> None:
    screen = in_a_terminal(desk, "one\ntwo\n/nonsense\n/reset\nthree\n/exit\n", "chat", "--url", endpoint.url)
    roles = [[message["role"] for message in request["messages"]] for request in endpoint.requests]
    assert roles == [["user"], ["user", "assistant", "user"], ["user"]]
    assert "There is no /nonsense." in screen
    assert "3 tokens, first after" in screen


def test_an_endpoint_that_is_not_there_is_one_clear_line(desk: Desk) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{probe.getsockname()[1]}"
        result = desk.run("chat", "--url", url, "-m", "x")
    assert result.returncode == 1
    assert result.stderr == f"pagelet chat: no answer from {url}: Connection refused; is `pagelet up` running?\n"


def test_a_refusal_of_the_endpoint_is_shown_as_it_is(desk: Desk, endpoint: FakeEndpoint) -> None:
    endpoint.error = {"message": "the prompt is too long", "type": "invalid_request_error"}
    result = chat(desk, endpoint, "-m", "x")
    assert result.returncode == 1
    assert "the prompt is too long" in result.stderr
    assert result.stderr.count("\n") == 1


def test_an_empty_message_is_refused(desk: Desk, endpoint: FakeEndpoint) -> None:
    result = chat(desk, endpoint, said="\n")
    assert result.returncode == 1
    assert "the message is empty" in result.stderr
