"""The engine's numbers as Prometheus asks for them, in the field's names. Made when asked; keeps no numbers itself."""

from collections.abc import Callable, Iterator

from pagelet_api import inference_pb2 as pb
from pagelet_api import names
from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from pagelet_engine.server.measures import Measures

_FINISHED_REASONS = {pb.STOP: "stop", pb.LENGTH: "length", pb.ABORT: "abort", pb.DEADLINE: "deadline"}


class EngineCollector(Collector):
    """The metrics of one engine, made when asked for."""

    def __init__(
        self, model_name: str, measures: Measures, load: Callable[[], pb.Load], model: Callable[[], pb.ModelInfo]
    ) -> None:
        self._labels = [model_name]
        self._measures = measures
        self._load = load
        self._model = model

    def collect(self) -> Iterator[Metric]:
        yield from self._gauges(self._load())
        yield from self._counters(self._load())
        yield from self._histograms()
        yield self._cache_config(self._model())

    def _gauges(self, load: pb.Load) -> Iterator[Metric]:
        usage = load.blocks_in_use / load.blocks_total if load.blocks_total else 0.0
        for name, text, value in (
            (names.METRIC_REQUESTS_RUNNING, "Requests being computed.", load.running),
            (names.METRIC_REQUESTS_WAITING, "Requests waiting to be computed.", load.waiting),
            (names.METRIC_KV_CACHE_USAGE, "Share of KV blocks in use; 1 is all.", usage),
            (names.METRIC_BLOCKS_TOTAL, "KV blocks of the pool.", load.blocks_total),
            (names.METRIC_BLOCKS_IN_USE, "KV blocks that a request or a step in flight holds.", load.blocks_in_use),
            (names.METRIC_BLOCKS_CACHED, "Free KV blocks whose content can still be found.", load.blocks_cached),
            (names.METRIC_HOST_BLOCKS_TOTAL, "KV blocks in host memory.", load.host_blocks_total),
            (names.METRIC_HOST_BLOCKS_IN_USE, "Of these, held for preempted requests.", load.host_blocks_in_use),
            (names.METRIC_HOST_BLOCKS_CACHED, "Of these, free and still to be found.", load.host_blocks_cached),
        ):
            gauge = GaugeMetricFamily(name, text, labels=["model_name"])
            gauge.add_metric(self._labels, value)
            yield gauge

    def _counters(self, load: pb.Load) -> Iterator[Metric]:
        measures = self._measures
        for name, text, value in (
            (names.METRIC_PROMPT_TOKENS, "Tokens of prompts computed or found in the cache.", measures.prompt_tokens),
            (names.METRIC_GENERATION_TOKENS, "Tokens generated.", measures.generation_tokens),
            (names.METRIC_PREFIX_QUERIES, "Prompt tokens looked up in the prefix cache.", load.prefix_queries),
            (names.METRIC_PREFIX_HITS, "Prompt tokens found in the prefix cache.", load.prefix_hits),
            (names.METRIC_PREEMPTIONS, "Requests set back to make room.", load.preemptions),
            (names.METRIC_BLOCKS_SAVED, "KV blocks copied to host memory.", load.blocks_saved),
            (names.METRIC_BLOCKS_LOADED, "KV blocks copied back.", load.blocks_loaded),
            (names.METRIC_BROKEN, "Requests for which the model computed NaN or infinity.", measures.broken_requests),
        ):
            counter = CounterMetricFamily(name, text, labels=["model_name"])
            counter.add_metric(self._labels, value)
            yield counter
        text = "Requests that have ended, by how."
        success = CounterMetricFamily(names.METRIC_REQUEST_SUCCESS, text, labels=["model_name", "finished_reason"])
        for reason, count in measures.finished_requests.items():
            success.add_metric([*self._labels, _FINISHED_REASONS[reason]], count)
        yield success

    def _histograms(self) -> Iterator[Metric]:
        measures = self._measures
        for name, text, histogram in (
            (names.METRIC_TTFT, "From arrival to the first token.", measures.time_to_first_token),
            (names.METRIC_INTER_TOKEN, "Between the tokens of a request.", measures.inter_token),
            (names.METRIC_E2E_LATENCY, "From arrival to the end of an answer.", measures.e2e),
            (names.METRIC_QUEUE_TIME, "From arrival until it is first computed.", measures.queue_time),
            (names.METRIC_ITERATION_TOKENS, "Tokens computed in a step.", measures.iteration_tokens),
        ):
            family = HistogramMetricFamily(name, text, labels=["model_name"])
            family.add_metric(self._labels, histogram.cumulative(), histogram.sum)
            yield family

    def _cache_config(self, model: pb.ModelInfo) -> Metric:
        labels = ["model_name", "block_size", "num_gpu_blocks", "cache_dtype"]
        config = GaugeMetricFamily(names.METRIC_CACHE_CONFIG, "The KV cache as configured.", labels=labels)
        config.add_metric([*self._labels, str(model.block_size), str(model.num_blocks), model.kv_cache_dtype], 1)
        return config


def new_registry(collector: EngineCollector) -> CollectorRegistry:
    """A registry of this engine's own: nothing is registered globally."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(collector)
    return registry
