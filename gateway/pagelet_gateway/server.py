"""Runs a gateway: its two listeners, its background work, and its end, in which streams in flight finish."""

import asyncio
import logging
from dataclasses import replace

from pagelet_api.openai.errors import unavailable

from pagelet_gateway.app import main_app, ops_app
from pagelet_gateway.gateway import Gateway
from pagelet_gateway.http.limits import OPS_CONNECTIONS, HttpLimits
from pagelet_gateway.http.listener import BACKLOG, Listeners
from pagelet_gateway.http.server import HttpServer
from pagelet_gateway.readiness import Readiness

_log = logging.getLogger(__name__)

_LAST_WORDS_S = 2

LINGER_S = 2.0
"""While clients still have connections open at SIGTERM, requests on them are answered for this long, each answer
closing its connection. One that is closed while a request is on its way is a failed request for its client."""


async def serve(
    gateway: Gateway,
    listeners: Listeners,
    stop: asyncio.Event,
    linger_s: float = LINGER_S,
    limits: HttpLimits | None = None,
) -> None:
    """Serve until `stop` is set, then let clients go, finish what is in flight, at most drain_timeout_s, and return.

    Raises what ended a part that should have gone on.
    """
    readiness = Readiness(gateway)
    drain_s = gateway.config.drain_timeout_s
    limits = limits or HttpLimits()
    main = HttpServer(main_app(gateway, readiness), limits, gateway.metrics.connections("http"))
    ops_limits = replace(limits, connections=OPS_CONNECTIONS)
    ops = HttpServer(ops_app(gateway, readiness), ops_limits, gateway.metrics.connections("ops"))
    await main.start(listeners.http, BACKLOG)
    await ops.start(listeners.ops, BACKLOG)
    engines_task = asyncio.create_task(gateway.engines.run(), name="engines")
    readiness_task = asyncio.create_task(readiness.run(), name="readiness")
    readiness_task.add_done_callback(_raise_fault)
    stopped = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({stopped, engines_task}, return_when=asyncio.FIRST_COMPLETED)
        gateway.stopping = True
        if gateway.in_flight:
            _log.info("stopping: %d answers in flight have %d s to finish", len(gateway.in_flight), drain_s)
        last_words = asyncio.get_running_loop().call_later(
            drain_s, gateway.end_all, unavailable("The gateway stops. Send the request again.", 1, "gateway_stopping")
        )
        await main.until_empty(min(linger_s, drain_s))
        await main.close(drain_s + _LAST_WORDS_S)
        last_words.cancel()
        await ops.close(_LAST_WORDS_S)
        if not stop.is_set():
            await engines_task
            raise RuntimeError("the engines' part of the gateway ended by itself")
    finally:
        tasks = (stopped, readiness_task, engines_task)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _raise_fault(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (fault := task.exception()) is not None:
        _log.error("the readiness probe ended by a fault; this gateway will not become ready", exc_info=fault)
