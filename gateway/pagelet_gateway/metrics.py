"""The gateway's metrics, in a registry of their own: the clients' view, where the engines' is one engine's."""

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

from pagelet_api import metric_buckets, names
from pagelet_api.histogram import Histogram as LeanHistogram
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric


class Metrics:
    """One object a process; `model` labels what is about the model."""

    def __init__(self, model: str) -> None:
        registry = self._registry = CollectorRegistry()
        label = ["model_name"]
        self.ttft_s = Histogram(
            names.METRIC_GATEWAY_TTFT,
            "Request to first token, seconds.",
            label,
            registry=registry,
            buckets=metric_buckets.TIME_TO_FIRST_TOKEN_S,
        ).labels(model)
        self.inter_token_s = LeanHistogram(metric_buckets.INTER_TOKEN_S)
        self.generation_tokens = 0
        self.e2e_s = Histogram(
            names.METRIC_GATEWAY_E2E_LATENCY,
            "Request to last token, seconds.",
            label,
            registry=registry,
            buckets=metric_buckets.REQUEST_S,
        ).labels(model)
        self.prompt_tokens = Counter(
            names.METRIC_GATEWAY_PROMPT_TOKENS, "Prompt tokens of answered requests.", label, registry=registry
        ).labels(model)
        self.running = Gauge(
            names.METRIC_GATEWAY_RUNNING, "HTTP requests being answered.", label, registry=registry
        ).labels(model)
        self._success = Counter(
            names.METRIC_GATEWAY_CHOICES, "Choices by how they ended.", [*label, "finished_reason"], registry=registry
        )
        self.model = model
        self.requests = Counter(
            "pagelet:gateway_requests", "HTTP requests by route and status.", ["route", "code"], registry=registry
        )
        self.ignored_fields = Counter(
            "pagelet:gateway_ignored_fields", "Fields that were sent and have no effect.", ["field"], registry=registry
        )
        self.refused_fields = Counter(
            "pagelet:gateway_refused_fields", "Requests refused for a field.", ["code"], registry=registry
        )
        self.cut_clients = Counter(
            "pagelet:gateway_slow_clients_cut", "Clients that read too slowly.", registry=registry
        )
        self.loop_lag_s = Histogram(
            "pagelet:gateway_loop_lag_seconds",
            "How late the event loop was, looked at every 50 ms while requests were answered.",
            registry=registry,
            buckets=metric_buckets.LOOP_LAG_S,
        )
        self._connections = Gauge(
            "pagelet:gateway_connections", "Open connections by listener.", ["port"], registry=registry
        )
        self._refused_connections = Counter(
            "pagelet:gateway_refused_connections",
            "Connections closed for what was sent, what was not, or their number.",
            ["port", "reason"],
            registry=registry,
        )
        registry.register(_OfTokens(self))

    def finished(self, reason: str) -> None:
        self._success.labels(self.model, reason).inc()

    def watch_engines(self, states: Callable[[], Iterable[str]]) -> None:
        """Report how many engines are in each state, counted when asked."""
        self._registry.register(_EngineStates(states))

    def watch_memory(self, held: Mapping[str, Callable[[], int]]) -> None:
        """Report the bytes that requests hold, by what of them."""
        self._registry.register(_HeldBytes(held))

    def watch_workers(self, waiting: Callable[[], int], lost: Callable[[], int]) -> None:
        """Report the jobs that no worker has begun, and the workers that ended in the middle of one."""
        self._registry.register(_Workers(waiting, lost))

    def connections(self, port: str) -> "PortMetrics":
        """Of one listener: "http" or "ops"."""
        return PortMetrics(port, self._connections, self._refused_connections)

    def exposition(self) -> bytes:
        """The text format of Prometheus, version 0.0.4."""
        return generate_latest(self._registry)


class PortMetrics:
    def __init__(self, port: str, connections: Gauge, refused: Counter) -> None:
        self._port = port
        self._connections = connections.labels(port)
        self._refused = refused

    def open_connections(self, count: int) -> None:
        self._connections.set(count)

    def refused_connections(self, reason: str) -> None:
        self._refused.labels(self._port, reason).inc()


class _OfTokens(Collector):
    """What is counted with every token, where the library's locks would cost more than all else about it."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def collect(self) -> Iterable["Metric"]:
        labels, values = ["model_name"], [self._metrics.model]
        tokens = CounterMetricFamily(
            names.METRIC_GATEWAY_GENERATION_TOKENS, "Tokens generated for clients.", labels=labels
        )
        tokens.add_metric(values, self._metrics.generation_tokens)
        yield tokens
        between = HistogramMetricFamily(names.METRIC_GATEWAY_INTER_TOKEN, "Token to token, seconds.", labels=labels)
        between.add_metric(values, self._metrics.inter_token_s.cumulative(), self._metrics.inter_token_s.sum)
        yield between


class _EngineStates(Collector):
    def __init__(self, states: Callable[[], Iterable[str]]) -> None:
        self._states = states

    def collect(self) -> Iterable["Metric"]:
        family = GaugeMetricFamily("pagelet:gateway_engines", "Engines by state.", labels=["state"])
        states = list(self._states())
        for state in ("ready", "draining", "connecting"):
            family.add_metric([state], states.count(state))
        yield family


class _HeldBytes(Collector):
    def __init__(self, held: Mapping[str, Callable[[], int]]) -> None:
        self._held = held

    def collect(self) -> Iterable["Metric"]:
        family = GaugeMetricFamily(
            "pagelet:gateway_held_bytes", "Memory that requests hold, of what is bounded.", labels=["what"]
        )
        for what, num_bytes in self._held.items():
            family.add_metric([what], num_bytes())
        yield family


class _Workers(Collector):
    def __init__(self, waiting: Callable[[], int], lost: Callable[[], int]) -> None:
        self._waiting, self._lost = waiting, lost

    def collect(self) -> Iterable["Metric"]:
        yield GaugeMetricFamily(
            "pagelet:gateway_jobs_waiting", "Requests whose prompts no worker has begun to make.", self._waiting()
        )
        yield CounterMetricFamily(
            "pagelet:gateway_workers_lost", "Workers that ended in the middle of a request.", self._lost()
        )
