"""Liveness says what is wrong; readiness waits for the caches; metrics are what Prometheus reads."""

import pytest
from aiohttp.test_utils import TestClient, TestServer
from pagelet_operator.health import LONGEST_RECONCILE_S, OLDEST_WATCH_S, Vitals, illness, make_app
from pagelet_operator.metrics import Metrics


@pytest.mark.parametrize(
    ("vitals", "word"),
    [
        (Vitals({"Pod": OLDEST_WATCH_S - 1}, LONGEST_RECONCILE_S - 1, True), ""),
        (Vitals({"Pod": 0, "Job": OLDEST_WATCH_S + 1}, 0, True), "Job"),
        (Vitals({"Pod": 0}, LONGEST_RECONCILE_S + 1, True), "reconcile"),
        (Vitals({}, 0, False), ""),
    ],
)
def test_a_silent_watch_and_a_hanging_reconcile_are_fatal(vitals: Vitals, word: str) -> None:
    assert word in illness(vitals)
    assert bool(illness(vitals)) == bool(word)


async def test_the_ops_port_answers() -> None:
    metrics, vitals = Metrics(), [Vitals({}, 0, False)]
    metrics.watch_ages(lambda: {"Pod": 3.0})
    metrics.api_writes.labels("apply", "Service").inc(2)
    async with TestClient(TestServer(make_app(lambda: vitals[0], metrics.page))) as client:
        assert (await client.get("/healthz")).status == 200
        assert (await client.get("/readyz")).status == 503
        vitals[0] = Vitals({"Pod": OLDEST_WATCH_S + 1}, 0, True)
        assert (await client.get("/readyz")).status == 200
        answer = await client.get("/healthz")
        assert answer.status == 503
        assert "Pod" in await answer.text()
        page = await (await client.get("/metrics")).text()
    assert 'pagelet_operator_watch_age_seconds{kind="Pod"} 3.0' in page
    assert 'pagelet_operator_api_writes_total{kind="Service",verb="apply"} 2.0' in page
    assert "pagelet_operator_is_leader 0.0" in page
