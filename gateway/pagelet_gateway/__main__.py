"""`python -m pagelet_gateway --config FILE`: one gateway, in the foreground, until SIGTERM or SIGINT."""

import argparse
import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import uvloop
from pagelet_api import names
from pagelet_api.config import ConfigError, GatewayConfig

from pagelet_gateway.discovery import RESOLVE_INTERVAL_S, Resolver
from pagelet_gateway.engines import Engines
from pagelet_gateway.gateway import Gateway
from pagelet_gateway.http.limits import ConnectionLimits, HttpLimits
from pagelet_gateway.http.listener import ListenError, Listeners, claim_descriptors, listen
from pagelet_gateway.metrics import Metrics
from pagelet_gateway.server import serve
from pagelet_gateway.workers.launcher import ForkServer
from pagelet_gateway.workers.pool import WorkerPool

_THREADS = 2  # a model is read in one while the fork server is waited for in the other


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="pagelet_gateway", description=__doc__)
    parser.add_argument("--config", type=Path, required=True, help="the gateway's configuration, a JSON file")
    parser.add_argument("--http-port", type=int, default=names.GATEWAY_HTTP_PORT, help="OpenAI's API")
    parser.add_argument("--ops-port", type=int, default=names.GATEWAY_OPS_PORT, help="probes and metrics")
    parser.add_argument("--log-requests", action="store_true", help="one line a request")
    parser.add_argument("--log-level", default="info", choices=["debug", "info", "warning", "error"])
    return parser.parse_args(arguments)


async def _run(config: GatewayConfig, listeners: Listeners, log_requests: bool) -> None:
    hosts_file = os.environ.get(names.HOSTS_FILE_ENV)
    resolver = Resolver(config.engine_host, config.engine_port, Path(hosts_file) if hosts_file else None)
    with (
        ThreadPoolExecutor(_THREADS, thread_name_prefix="model") as executor,
        contextlib.closing(ForkServer()) as fork_server,
        WorkerPool(fork_server, executor) as workers,
    ):
        engines = Engines(
            resolver.resolve,
            executor,
            workers,
            gateway=f"{socket.gethostname()}/{os.getpid()}",
            resolve_interval_s=RESOLVE_INTERVAL_S,
            eager_interval_s=resolver.eager_interval_s,
        )
        gateway = Gateway(config, engines, Metrics(config.model_name), workers, log_requests=log_requests)
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        limits = HttpLimits(connections=ConnectionLimits.within(claim_descriptors()))
        await serve(gateway, listeners, stop, limits=limits)


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit status: 0 after a drain, 1 with one line on stderr for what cannot be used."""
    options = _arguments(arguments)
    logging.basicConfig(
        level=options.log_level.upper(),
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        stream=sys.stderr,
    )
    address = os.environ.get(names.LISTEN_ADDRESS_ENV, "127.0.0.1")
    try:
        config = GatewayConfig.read(options.config)
        listeners = Listeners(listen(address, options.http_port), listen(address, options.ops_port))
    except (ConfigError, ListenError) as error:
        print(f"pagelet gateway: {error}", file=sys.stderr)
        return 1
    logging.getLogger(__name__).info(
        "listening on http://%s:%d, ops on port %d",
        address,
        listeners.http.getsockname()[1],
        listeners.ops.getsockname()[1],
    )
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_run(config, listeners, options.log_requests))
    return 0


if __name__ == "__main__":
    sys.exit(main())
