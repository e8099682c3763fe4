"""kopf, which only watches: whatever an event says goes to one function, and nothing is written to any object.

Runs in a thread with an event loop of its own, because kopf ends every task of its loop when it ends. Owns kopf's
settings. Refuses to know what events are for.
"""

import asyncio
import logging
import threading
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import kopf
from kubernetes.aio.client import Configuration
from pagelet_api import names

from pagelet_operator.cluster.client import login
from pagelet_operator.cluster.kinds import SERVICE, WATCHED, Kind
from pagelet_operator.observed import KubernetesObject

Sink = Callable[[str | None, KubernetesObject], None]
"""Takes an event's type (ADDED, MODIFIED, DELETED; None: listed) and its object. Called in kopf's thread."""
LogIn = Callable[[], Awaitable[Configuration]]

SERVER_TIMEOUT_S = 300
_CLIENT_TIMEOUT_S = SERVER_TIMEOUT_S + 15
_INACTIVITY_S = 70  # servers send a bookmark a minute
_RESTART_S = 5.0
# Half an hour of patience with a server that is away or refuses, as one does that is starting; then from the beginning.
_BACK_OFFS_S = (1, 1, 2, *([3] * 600))

logger = logging.getLogger(__name__)


class Watching:
    """Watches from `start` to `stop`, whatever happens to kopf in between."""

    def __init__(self, namespaces: Sequence[str], sink: Sink, log_in: LogIn = login) -> None:
        self._namespaces = tuple(namespaces)
        self._sink = sink
        self._log_in = log_in
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watching", daemon=True)

    def start(self) -> None:
        self._thread.start()

    async def stop(self) -> None:
        self._stopping.set()
        if self._thread.is_alive():
            await asyncio.to_thread(self._thread.join, 10)

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                asyncio.run(
                    kopf.operator(
                        registry=make_registry(self._sink, self._log_in),
                        settings=make_settings(),
                        standalone=True,
                        clusterwide=not self._namespaces,
                        namespaces=self._namespaces,
                        stop_flag=self._stopping,
                    )
                )
            except Exception:
                logger.exception("watching ended; it begins anew", extra={"in_s": _RESTART_S})
            self._stopping.wait(_RESTART_S)


def make_registry(sink: Sink, log_in: LogIn) -> kopf.OperatorRegistry:
    """One handler for the events of all kinds that are watched, and one that logs in."""
    registry = kopf.OperatorRegistry()

    async def see(event: Any, **_: Any) -> None:
        sink(event["type"], event["object"])

    for kind in WATCHED:
        labels = {} if kind == SERVICE else {names.LABEL_SERVICE: kopf.PRESENT}
        kopf.on.event(kind.group, kind.version, kind.plural, labels=labels, registry=registry)(see)

    @kopf.on.login(registry=registry)
    async def connect(**_: Any) -> kopf.ConnectionInfo:
        return await connection(await log_in())

    return registry


def make_settings() -> kopf.OperatorSettings:
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False  # our Events are of transitions, not of log lines
    settings.posting.level = logging.WARNING
    settings.scanning.disabled = True  # our kinds are there before we are, and namespaces are listed or all
    settings.watching.server_timeout = SERVER_TIMEOUT_S
    settings.watching.client_timeout = _CLIENT_TIMEOUT_S
    settings.watching.inactivity_timeout = _INACTIVITY_S
    settings.networking.error_backoffs = _BACK_OFFS_S
    for kind in WATCHED:
        if kind != SERVICE:
            settings.watching.label_selectors[_selector(kind)] = names.LABEL_SERVICE
    # None of these is ever written; should it be, it is ours to find.
    settings.persistence.finalizer = f"{names.GROUP}/unused"
    settings.persistence.progress_storage = kopf.AnnotationsProgressStorage(prefix=names.GROUP)
    settings.persistence.diffbase_storage = kopf.AnnotationsDiffBaseStorage(prefix=names.GROUP)
    return settings


async def connection(configuration: Configuration) -> kopf.ConnectionInfo:
    """The client's login in kopf's words. kopf asks anew when the server stops accepting it, so tokens may rotate."""
    header = await configuration.get_api_key_with_prefix("BearerToken") or ""
    scheme, _, token = header.rpartition(" ")
    return kopf.ConnectionInfo(
        server=configuration.host,
        ca_path=configuration.ssl_ca_cert,
        insecure=not configuration.verify_ssl,
        scheme=(scheme.strip() or "Bearer") if token else None,
        token=token.strip() or None,
        certificate_path=configuration.cert_file,
        private_key_path=configuration.key_file,
        proxy_url=configuration.proxy,
    )


def _selector(kind: Kind) -> tuple[str, str, str]:
    return (kind.group, kind.version, kind.plural)
