"""Connections over real sockets: one request at a time, every wait bounded, refusals that can be read."""

import asyncio
import json
import socket
from dataclasses import replace
from typing import Any

import pytest
from pagelet_gateway.http.limits import ConnectionLimits, HttpLimits, MessageLimits, Timeouts

from .conftest import Client, OpenServer, Served, eventually

GET = b"GET /%d HTTP/1.1\r\nhost: x\r\n\r\n"
POST = b"POST /post HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n"
CHUNKED = b"POST /post HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"


def limits(connections: ConnectionLimits | None = None, **timeouts: Any) -> HttpLimits:
    return HttpLimits(timeouts=Timeouts(**timeouts), connections=connections or ConnectionLimits())


async def ask(client: Client, request: bytes) -> Any:
    status, _, body = await client.ask(request)
    assert status == 200, body
    return json.loads(body)


# ---- requests --------------------------------------------------------------------------------------------------------


async def test_requests_follow_each_other_on_one_connection(serve_http: OpenServer) -> None:
    async with serve_http() as served, served.connect() as client:
        assert (await ask(client, GET % 1))["path"] == "/1"
        assert (await ask(client, POST % 5 + b"hello"))["body"] == "hello"
        assert (await ask(client, CHUNKED + b"3\r\nhel\r\n2\r\nlo\r\n0\r\nA: b\r\n\r\n"))["body"] == "hello"
        assert (await ask(client, b"GET http://y/a%20b%zz?c=%ff HTTP/1.1\r\nhost: x\r\n\r\n")) == {
            "path": "/a b%zz",
            "query": "c=%ff",
            "body": "",
        }
        assert served.metrics.open == 1
        assert not served.metrics.refused


async def test_a_request_may_come_byte_by_byte(serve_http: OpenServer) -> None:
    async with serve_http() as served, served.connect() as client:
        for byte in POST % 3 + b"abc":
            await client.send(bytes([byte]))
        status, _, body = await client.answer()
        assert (status, json.loads(body)["body"]) == (200, "abc")


@pytest.mark.parametrize("upgrade", ["h2c", "websocket"])
async def test_an_upgrade_is_declined_and_the_body_kept(serve_http: OpenServer, upgrade: str) -> None:
    head = f"POST /post HTTP/1.1\r\nhost: x\r\nconnection: upgrade, http2-settings\r\nupgrade: {upgrade}\r\n"
    async with serve_http() as served, served.connect() as client:
        for body in (b"content-length: 2\r\n\r\nhi", b"transfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n"):
            assert (await ask(client, head.encode() + b"http2-settings: AAEAAEAA\r\n" + body))["body"] == "hi"


async def test_pipelined_requests_are_answered_in_order_one_at_a_time(serve_http: OpenServer) -> None:
    async with serve_http() as served, served.connect() as client:
        requests = b"".join(GET % number + POST % 1 + b"x" + CHUNKED + b"1\r\ny\r\n0\r\n\r\n" for number in range(50))
        await client.send(requests)
        for number in range(50):
            for expected in (f"/{number}", "/post", "/post"):
                assert json.loads((await client.answer())[2])["path"] == expected


async def test_what_is_sent_ahead_of_an_answer_stays_in_the_kernel(serve_http: OpenServer) -> None:
    async with serve_http() as served, served.connect() as client:
        await client.send(b"GET /wait HTTP/1.1\r\nhost: x\r\n\r\n")
        flood = asyncio.create_task(client.send(GET % 1 * 1_000_000))
        await eventually(lambda: client.writer.transport.get_write_buffer_size() > 2**20, "the client is held up")
        await asyncio.sleep(0)
        assert served.app.seen == ["/wait"]
        waiting = client.writer.transport.get_write_buffer_size()
        assert (await _of_another(served)) == 200
        assert client.writer.transport.get_write_buffer_size() == waiting, "nothing more was read meanwhile"
        flood.cancel()


async def _of_another(served: Served) -> int:
    async with served.connect() as client:
        return (await client.ask(GET % 2))[0]


async def test_an_answer_before_the_body_leaves_the_connection_usable(serve_http: OpenServer) -> None:
    async with serve_http() as served, served.connect() as client:
        await client.send(b"POST /deaf HTTP/1.1\r\nhost: x\r\ncontent-length: 1000000\r\n\r\n")
        assert (await client.answer())[2] == b"early"
        await client.send(b"x" * 1_000_000)
        assert (await ask(client, GET % 1))["path"] == "/1"


async def test_a_body_that_is_asked_for_is_sent_and_the_connection_stays(serve_http: OpenServer) -> None:
    async with serve_http() as served, served.connect() as client:
        await client.send((POST % 2).replace(b"host: x", b"host: x\r\nexpect: 100-continue"))
        assert await client.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        assert (await ask(client, b"hi"))["body"] == "hi"
        assert (await ask(client, GET % 1))["path"] == "/1"
        early = b"POST /deaf HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 9\r\n\r\n"
        status, headers, _ = await client.ask(early)
        assert (status, headers["connection"]) == (200, "close"), "whether the body will come cannot be known"


async def test_http_1_0_gets_no_chunks_and_an_answer_that_ends_with_the_connection(serve_http: OpenServer) -> None:
    async with serve_http() as served:
        async with served.connect() as client:
            await client.send(b"GET /stream HTTP/1.0\r\n\r\n")
            head, _, body = (await client.rest()).partition(b"\r\n\r\n")
        assert body == b"onetwothree"
        assert b"chunked" not in head
        assert b"connection: close" in head
        async with served.connect() as client:
            await client.send(b"GET /stream HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
            assert (await client.rest()).endswith(b"5\r\nthree\r\n0\r\n\r\n")


async def test_head_has_no_body(serve_http: OpenServer) -> None:
    async with serve_http() as served, served.connect() as client:
        await client.send(b"HEAD /1 HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        head, _, body = (await client.rest()).partition(b"\r\n\r\n")
        assert (head.startswith(b"HTTP/1.1 200"), body) == (True, b"")


# ---- refusals --------------------------------------------------------------------------------------------------------


async def test_a_refusal_can_be_read_by_a_client_that_still_sends(serve_http: OpenServer) -> None:
    async with serve_http() as served, served.connect() as client:
        await client.send(b"GET / HTTP/1.1\r\nhost: x\r\na: " + b"x" * 10_000_000)
        assert await client.error() == (431, "headers_too_large")
        assert served.metrics.refused == {"headers_too_large": 1}


async def test_a_bad_request_behind_a_good_one_is_refused_after_its_answer(serve_http: OpenServer) -> None:
    async with serve_http() as served, served.connect() as client:
        await client.send(GET % 1 + b"GET / HTTP/1.1\r\n\r\n" + GET % 2)
        assert (await client.answer())[0] == 200
        assert await client.error() == (400, "invalid_http")
        assert served.app.seen == ["/1"]


async def test_a_bad_chunk_ends_the_request_that_waits_for_it(serve_http: OpenServer) -> None:
    async with serve_http() as served, served.connect() as client:
        await client.send(CHUNKED + b"5\r\nhello\r\nnonsense\r\n")
        assert await client.error() == (400, "invalid_http")
        assert await _of_another(served) == 200


# ---- time ------------------------------------------------------------------------------------------------------------


async def test_a_connection_that_sends_nothing_is_closed(serve_http: OpenServer) -> None:
    async with serve_http(limits(head_s=0.1)) as served, served.connect() as client:
        assert await client.rest() == b""


async def test_a_head_that_trickles_is_answered_408(serve_http: OpenServer) -> None:
    async with serve_http(limits(head_s=0.3)) as served, served.connect() as client:
        trickle = asyncio.create_task(_trickle(client, b"GET / HTTP/1.1\r\nhost: x\r\nx: "))
        assert await client.error() == (408, "head_timeout")
        trickle.cancel()


async def test_a_later_head_has_its_own_time(serve_http: OpenServer) -> None:
    async with serve_http(limits(head_s=0.3, idle_s=60)) as served, served.connect() as client:
        await ask(client, GET % 1)
        await client.send(b"GET / HT")
        assert await client.error() == (408, "head_timeout")


async def test_an_idle_connection_is_closed_after_its_time(serve_http: OpenServer) -> None:
    async with serve_http(limits(idle_s=0.2)) as served, served.connect() as client:
        await ask(client, GET % 1)
        assert await client.rest() == b""


async def test_a_body_that_trickles_is_answered_408(serve_http: OpenServer) -> None:
    async with serve_http(limits(body_s=0.3)) as served, served.connect() as client:
        await client.send(POST % 1000)
        trickle = asyncio.create_task(_trickle(client, b""))
        assert await client.error() == (408, "body_timeout")
        trickle.cancel()


async def test_the_rest_of_a_body_after_an_early_answer_has_bounds(serve_http: OpenServer) -> None:
    request = b"POST /deaf HTTP/1.1\r\nhost: x\r\ncontent-length: 100000000\r\n\r\n"
    async with serve_http(limits(linger_s=0.3)) as served, served.connect() as client:
        assert (await client.ask(request))[2] == b"early"
        assert await client.rest() == b""
    async with serve_http(limits(linger_bytes=2**20)) as served, served.connect() as client:
        await client.send(request)
        with pytest.raises(OSError, match=r"reset|[Bb]roken|lost"):
            await _send_for_ever(client)


async def test_an_answer_may_take_longer_than_any_wait_for_the_client(serve_http: OpenServer) -> None:
    async with (
        serve_http(limits(head_s=0.05, idle_s=0.05, body_s=0.05, linger_s=0.05, write_stall_s=0.05)) as served,
        served.connect() as client,
    ):
        await client.send(b"GET /wait HTTP/1.1\r\nhost: x\r\n\r\n")
        await eventually(lambda: served.app.seen, "the request")
        loop = asyncio.get_running_loop()
        passed = loop.create_future()
        loop.call_later(0.3, passed.set_result, None)
        await passed
        served.app.gate.set()
        assert (await client.answer())[2] == b"waited"


async def test_a_client_that_reads_nothing_is_cut(serve_http: OpenServer) -> None:
    async with serve_http(limits(write_stall_s=0.2)) as served:
        with socket.socket() as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.setblocking(False)
            loop = asyncio.get_running_loop()
            await loop.sock_connect(client, ("127.0.0.1", served.port))
            await loop.sock_sendall(client, b"GET /large HTTP/1.1\r\nhost: x\r\n\r\n")
            await eventually(lambda: served.metrics.refused["write_stalled"], "the connection is cut")
            await eventually(lambda: not served.metrics.open, "it is gone")


async def test_a_client_that_reads_steadily_gets_a_large_answer(serve_http: OpenServer) -> None:
    async with (
        serve_http(limits(write_stall_s=0.2, idle_s=0.2)) as served,
        served.connect() as client,
    ):
        await client.send(b"GET /large HTTP/1.1\r\nhost: x\r\n\r\n")
        await client.reader.readuntil(b"\r\n\r\n")
        received = 0
        while received < 2**26:
            received += len(await client.reader.read(2**18))
            await asyncio.sleep(0.002)
        assert received == 2**26


async def _send_for_ever(client: Client) -> None:
    while True:
        await client.send(b"x" * 2**20)


async def _trickle(client: Client, begin: bytes) -> None:
    await client.send(begin)
    while True:
        await client.send(b"x")
        await asyncio.sleep(0.02)


# ---- numbers ---------------------------------------------------------------------------------------------------------

FEW = ConnectionLimits(total=4, per_address=2, refusing=1)


async def _busy(served: Served, client: Client) -> None:
    before = len(served.app.seen)
    await client.send(b"GET /wait HTTP/1.1\r\nhost: x\r\n\r\n")
    await eventually(lambda: len(served.app.seen) > before, "the request")


async def test_an_address_that_takes_all_it_may_have_leaves_room_for_others(serve_http: OpenServer) -> None:
    async with (
        serve_http(limits(FEW)) as served,
        served.connect() as one,
        served.connect() as two,
    ):
        for client in (one, two):
            await _busy(served, client)
        async with served.connect() as three:
            status, headers, body = await three.answer()
            assert (status, headers["retry-after"], headers["connection"]) == (503, "1", "close")
            assert json.loads(body)["error"]["code"] == "too_many_connections_of_address"
        async with served.connect("127.0.0.2") as other:
            assert (await other.ask(GET % 1))[0] == 200
        served.app.gate.set()
        assert [(await client.answer())[0] for client in (one, two)] == [200, 200]


async def test_half_open_connections_lock_no_client_out(serve_http: OpenServer) -> None:
    async with serve_http(limits(FEW)) as served:
        async with served.connect() as idle, served.connect() as begun:
            await ask(idle, GET % 1)
            await begun.send(b"GET / HT")
            async with served.connect() as one, served.connect() as two:
                for client in (one, two):
                    assert (await ask(client, GET % 1))["path"] == "/1"
                assert served.metrics.refused == {"evicted": 2}
                for client in (idle, begun):
                    with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
                        await client.answer()
        await eventually(lambda: not served.metrics.open, "all are gone")


async def test_most_of_a_flood_is_closed_without_a_word(serve_http: OpenServer) -> None:
    async with serve_http(limits(FEW)) as served, served.connect() as one, served.connect() as two:
        for client in (one, two):
            await _busy(served, client)
        sockets = [socket.create_connection(("127.0.0.1", served.port)) for _ in range(50)]
        await eventually(lambda: served.metrics.refused["too_many_connections_of_address"] == 50, "all are refused")
        await eventually(lambda: served.metrics.open <= 2 + FEW.refusing, "they are closed")
        for refused in sockets:
            refused.close()
        served.app.gate.set()
        assert [(await client.answer())[0] for client in (one, two)] == [200, 200]


async def test_the_connection_that_holds_the_most_bytes_gives_way(serve_http: OpenServer) -> None:
    bounds = limits(replace(ConnectionLimits(), held_bytes=60_000))
    async with serve_http(bounds) as served, served.connect() as large, served.connect() as small:
        await large.send(b"GET / HTTP/1.1\r\nhost: x\r\na: " + b"x" * 50_000)
        await small.send(b"GET /1 HTTP/1.1\r\nhost: x\r\na: " + b"x" * 20_000)
        assert await large.error() == (503, "too_many_bytes_held")
        assert (await ask(small, b"\r\n\r\n"))["path"] == "/1"


# ---- the end ---------------------------------------------------------------------------------------------------------


async def test_a_server_that_closes_finishes_what_it_answers(serve_http: OpenServer) -> None:
    async with serve_http() as served, served.connect() as idle, served.connect() as client:
        await ask(idle, GET % 1)
        await _busy(served, client)
        closed = asyncio.create_task(served.server.close(10))
        assert await idle.rest() == b""
        served.app.gate.set()
        status, headers, body = await client.answer()
        assert (status, headers["connection"], body) == (200, "close", b"waited")
        await asyncio.wait_for(closed, 5)


async def test_what_does_not_end_in_time_is_cut_off(serve_http: OpenServer) -> None:
    async with serve_http() as served, served.connect() as client:
        await _busy(served, client)
        await asyncio.wait_for(served.server.close(0.1), 5)
        with pytest.raises(asyncio.IncompleteReadError):
            await client.answer()


def test_every_bound_is_positive() -> None:
    for bounds in (MessageLimits(), Timeouts(), ConnectionLimits()):
        assert all(getattr(bounds, name) > 0 for name in bounds.__slots__)
