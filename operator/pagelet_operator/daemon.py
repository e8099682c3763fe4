"""The running operator: what starts, in which order, and what ends it. Decides nothing else.

Every replica watches and keeps its Store warm; the one that holds the Lease drains the queue.
"""

import asyncio
import contextlib
import logging
import random
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable

from aiohttp import web

from pagelet_operator.cluster.api import Api
from pagelet_operator.cluster.census_taker import CensusTaker
from pagelet_operator.cluster.lease import Election
from pagelet_operator.cluster.store import ServiceKey, Store
from pagelet_operator.cluster.sync import Sync
from pagelet_operator.cluster.writer import LeaseLost, Writer
from pagelet_operator.handlers import Watching
from pagelet_operator.health import Vitals, make_app
from pagelet_operator.metrics import Metrics
from pagelet_operator.observed import KubernetesObject
from pagelet_operator.reconcile import Reconciler, TryAgain, Unfinished
from pagelet_operator.settings import Settings
from pagelet_operator.workqueue import WorkQueue

_LONGEST_RECONCILE_S = 120.0
_BURST_S = 0.1
"""Events come in bursts, and one look sees what all of them were about."""

logger = logging.getLogger(__name__)


async def run(settings: Settings, connect: Callable[[], Awaitable[Api]]) -> None:
    """Until SIGTERM or SIGINT. Raises what no retry can mend."""
    api = await connect()
    metrics, store, queue = Metrics(), Store(), WorkQueue[ServiceKey]()

    def changed(key: ServiceKey) -> None:
        queue.add_after(key, _BURST_S)

    sync = Sync(api, store, settings.namespaces, metrics, changed, time.monotonic)
    election = Election(api, settings.lease_namespace, settings.identity, time.monotonic)
    writer = Writer(api, store, election, metrics)
    reconciler = Reconciler(
        store, writer, CensusTaker(api, time.monotonic), settings.release, time.time, settings.identity
    )

    def vitals() -> Vitals:
        return Vitals(sync.ages_s(), queue.longest_run_s, sync.complete)

    metrics.watch_ages(sync.ages_s)
    metrics.queue_depth.set_function(lambda: queue.backlog.depth)
    metrics.is_leader.set_function(lambda: election.held)
    ended = _end_of_process()
    loop = asyncio.get_running_loop()

    def see(event_type: str | None, obj: KubernetesObject) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: this process ends
            loop.call_soon_threadsafe(sync.see, event_type, obj)

    watching = Watching(settings.namespaces, see)
    async with _serving(make_app(vitals, metrics.page), settings):
        work = asyncio.create_task(_work(settings, sync, watching, election, queue, store, reconciler, metrics))
        try:
            await asyncio.wait({work, ended}, return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                work.result()
        finally:
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)
            # At once: a standby need not wait for the Lease to run out.
            await election.release()
            await watching.stop()
            await api.close()


async def _work(
    settings: Settings,
    sync: Sync,
    watching: Watching,
    election: Election,
    queue: WorkQueue[ServiceKey],
    store: Store,
    reconciler: Reconciler,
    metrics: Metrics,
) -> None:
    await sync.fill()
    # Not before: kopf overlooks for ever a kind that was not there when it started. What happens meanwhile it lists.
    watching.start()
    logger.info("the caches are filled", extra={"services": len(store.services())})

    async def lead() -> None:
        for key in store.services():
            queue.add(key)
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(settings.workers):
                    group.create_task(_drain(queue, reconciler, metrics, settings.resync_s))
        except* LeaseLost:
            logger.warning("the lease was lost in the middle of a reconcile")

    async with asyncio.TaskGroup() as group:
        group.create_task(sync.run())
        group.create_task(election.run(lead))


async def _drain(queue: WorkQueue[ServiceKey], reconciler: Reconciler, metrics: Metrics, resync_s: float) -> None:
    """Reconcile one key after another. Nothing that a key does to a reconcile ends the others."""
    while True:
        key = await queue.get()
        try:
            with metrics.reconcile_seconds.time():
                async with asyncio.timeout(_LONGEST_RECONCILE_S):
                    wake_in_s = await reconciler.reconcile(key)
        except (asyncio.CancelledError, LeaseLost):
            queue.abandoned(key)
            raise
        except Unfinished:
            queue.failed(key)
        except Exception as error:
            _fail(queue, key, error, metrics)
        else:
            queue.succeeded(key)
            # Spread, so that services which came together do not come together for ever.
            spread_s = resync_s * random.uniform(0.8, 1.2)
            queue.add_after(key, spread_s if wake_in_s is None else min(wake_in_s, spread_s))


def _fail(queue: WorkQueue[ServiceKey], key: ServiceKey, error: Exception, metrics: Metrics) -> None:
    reason = error.reason if isinstance(error, TryAgain) else type(error).__name__
    metrics.reconcile_errors.labels(reason).inc()
    delay_s = queue.failed(key)
    fields = {"key": str(key), "reason": reason, "error": str(error), "again_in_s": round(delay_s, 2)}
    if isinstance(error, TryAgain):
        logger.warning("a reconcile is tried again", extra=fields)
    else:
        logger.error("a reconcile broke: this is a bug", extra=fields, exc_info=error)


def _end_of_process() -> "asyncio.Future[None]":
    """Done at SIGTERM or SIGINT."""
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[None] = loop.create_future()

    def end() -> None:
        if not ended.done():
            ended.set_result(None)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end)
    return ended


@contextlib.asynccontextmanager
async def _serving(app: web.Application, settings: Settings) -> AsyncIterator[None]:
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, settings.ops_address, settings.ops_port).start()
        yield
    finally:
        await runner.cleanup()
