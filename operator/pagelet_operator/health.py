"""The operator's ops port: alive, ready, metrics. Owns what counts as alive.

Alive means that the watches prove themselves and that no reconcile hangs. That the event loop turns is shown by there
being an answer at all.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from aiohttp import web

OLDEST_WATCH_S = 300.0
LONGEST_RECONCILE_S = 300.0


@dataclass(frozen=True, slots=True)
class Vitals:
    watch_ages_s: Mapping[str, float]
    longest_reconcile_s: float
    synced: bool


def illness(vitals: Vitals) -> str:
    """Why the process should be started anew; empty: it should not."""
    for kind, age_s in vitals.watch_ages_s.items():
        if age_s > OLDEST_WATCH_S:
            return f"the watch of {kind} has given no sign of life for {age_s:.0f} s (limit {OLDEST_WATCH_S:.0f} s)"
    if vitals.longest_reconcile_s > LONGEST_RECONCILE_S:
        return (
            f"a reconcile has been running for {vitals.longest_reconcile_s:.0f} s (limit {LONGEST_RECONCILE_S:.0f} s)"
        )
    return ""


def make_app(vitals: Callable[[], Vitals], metrics_page: Callable[[], bytes]) -> web.Application:
    async def healthz(_: web.Request) -> web.Response:
        wrong = illness(vitals())
        return web.Response(text=wrong or "ok", status=503 if wrong else 200)

    async def readyz(_: web.Request) -> web.Response:
        ready = vitals().synced
        return web.Response(text="ok" if ready else "the caches are being filled", status=200 if ready else 503)

    async def metrics(_: web.Request) -> web.Response:
        headers = {"Content-Type": "text/plain; version=0.0.4; charset=utf-8"}
        return web.Response(body=metrics_page(), headers=headers)

    app = web.Application()
    app.add_routes([web.get("/healthz", healthz), web.get("/readyz", readyz), web.get("/metrics", metrics)])
    return app
