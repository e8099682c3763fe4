"""The gRPC server: its limits, its services, its port. Knows no engine: the service is given."""

from collections.abc import Callable

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from pagelet_engine.server.handlers import SERVICE as ENGINE
from pagelet_engine.server.handlers import rpc_handlers
from pagelet_engine.server.messages import MAX_MESSAGE_BYTES

SERVICE = ENGINE.full_name

MAX_CONNECTIONS = 512
"""A gateway has one. Each costs a descriptor, of which a process may have as few as 1024, and some memory."""

MAX_STREAMS_PER_CONNECTION = 1024
"""Calls that go on at once; a client holds further ones back itself. A gateway has a session and a few short calls."""

MAX_CALLS = 4096
"""Of all connections; further ones are refused with RESOURCE_EXHAUSTED."""

_OPTIONS = (
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_concurrent_streams", MAX_STREAMS_PER_CONNECTION),
    ("grpc.max_allowed_incoming_connections", MAX_CONNECTIONS),
    # A connection on which nothing is called, and one that never speaks HTTP/2, make room for others.
    ("grpc.max_connection_idle_ms", 300_000),
    ("grpc.server_handshake_timeout_ms", 10_000),
    ("grpc.max_send_message_length", -1),
    # Two engines on one port would share its connections silently.
    ("grpc.so_reuseport", 0),
    # A gateway whose machine vanished says no goodbye: its requests are aborted after 40 s all the same.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
)


class PortError(Exception):
    """An address that cannot be listened on; the message says which and what to do."""


class GrpcServer:
    """Engine, health and reflection on one port, once started."""

    def __init__(self, service: object, max_bytes: Callable[[str], int]) -> None:
        """`service` has a method for each RPC of the engine; `max_bytes` bounds an RPC's messages, by its name."""
        self._server = grpc.aio.server(options=_OPTIONS, maximum_concurrent_rpcs=MAX_CALLS)
        self._health = health.aio.HealthServicer()
        self._shown: bool | None = None
        self._server.add_generic_rpc_handlers((rpc_handlers(service, max_bytes),))
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        reflection.enable_server_reflection((SERVICE, health.SERVICE_NAME, reflection.SERVICE_NAME), self._server)

    async def start(self, address: str, port: int) -> int:
        """Listen; returns the port, which the system chooses for 0. Raises PortError."""
        host = f"[{address}]" if ":" in address else address
        try:
            bound = self._server.add_insecure_port(f"{host}:{port}")
        except RuntimeError as error:
            raise PortError(port_error("gRPC", address, port, "--grpc-port")) from error
        await self.show(serving=False)
        await self._server.start()
        return int(bound)

    async def show(self, serving: bool) -> None:
        """Set the status that grpc.health.v1 answers, for the server and the engine's service."""
        if serving is self._shown:
            return
        self._shown = serving
        statuses = health_pb2.HealthCheckResponse
        for name in ("", SERVICE):
            await self._health.set(name, statuses.SERVING if serving else statuses.NOT_SERVING)

    async def stop(self, grace_s: float) -> None:
        """Take no new calls, let those that run end for `grace_s`, then cancel them."""
        await self._server.stop(grace_s)


def port_error(what: str, address: str, port: int, flag: str) -> str:
    """The sentence of a port that cannot be had."""
    return f"cannot listen for {what} on {address}:{port}: in use or not ours; free it, or choose another with {flag}"
