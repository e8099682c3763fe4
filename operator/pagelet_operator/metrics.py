"""The operator's own metrics, for Prometheus. Owns their names; each number's owner counts it here."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector


class Metrics:
    """One set a process; a registry of its own, so that tests have many."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.reconcile_seconds = Histogram(
            "pagelet_operator_reconcile_seconds",
            "Time of one reconcile, its writes included.",
            buckets=(0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
            registry=self.registry,
        )
        self.reconcile_errors = Counter(
            "pagelet_operator_reconcile_errors", "Reconciles that are tried again.", ["reason"], registry=self.registry
        )
        self.api_writes = Counter(
            "pagelet_operator_api_writes",
            "Requests that write, dry runs and Leases aside.",
            ["verb", "kind"],
            registry=self.registry,
        )
        self.watch_repairs = Counter(
            "pagelet_operator_watch_repairs",
            "Objects whose changes no watch had told of, found by listing.",
            ["kind"],
            registry=self.registry,
        )
        self.is_leader = Gauge(
            "pagelet_operator_is_leader", "1 on the replica that writes, 0 on a standby.", registry=self.registry
        )
        self.queue_depth = Gauge(
            "pagelet_operator_queue_depth", "InferenceServices that wait to be reconciled.", registry=self.registry
        )

    def watch_ages(self, ages_s: Callable[[], dict[str, float]]) -> None:
        """Show, by kind, for how long its watch has given no sign of life."""
        self.registry.register(_WatchAges(ages_s))

    def page(self) -> bytes:
        return generate_latest(self.registry)


class _WatchAges(Collector):
    def __init__(self, ages_s: Callable[[], dict[str, float]]) -> None:
        self._ages_s = ages_s

    def collect(self) -> list[Metric]:
        family = GaugeMetricFamily(
            "pagelet_operator_watch_age_seconds", "Since the watch of a kind last proved to be alive.", labels=["kind"]
        )
        for kind, age_s in self._ages_s().items():
            family.add_metric([kind], age_s)
        return [family]
