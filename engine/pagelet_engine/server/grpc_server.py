"""The gRPC server: its limits, its services, its port. Knows no engine: the service is given."""

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from pagelet_api import inference_pb2 as pb
from pagelet_api import inference_pb2_grpc

SERVICE = pb.DESCRIPTOR.services_by_name["Engine"].full_name

MAX_REQUEST_BYTES = 16 * 2**20
"""A message from a client. A longer one ends its whole stream with RESOURCE_EXHAUSTED, so this is far above the longest
prompt that fits a model: that is refused alone, with a sentence."""

_OPTIONS = (
    ("grpc.max_receive_message_length", MAX_REQUEST_BYTES),
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

    def __init__(self, service: inference_pb2_grpc.EngineServicer) -> None:
        self._server = grpc.aio.server(options=_OPTIONS)
        self._health = health.aio.HealthServicer()
        self._shown: bool | None = None
        inference_pb2_grpc.add_EngineServicer_to_server(service, self._server)  # type: ignore[no-untyped-call]
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
