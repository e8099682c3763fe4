"""What the engine has done since it started, in numbers that only grow.

Plain attributes, because they change on every step. Refuses to know Prometheus: metrics.py shows them.
"""

from pagelet_api import inference_pb2 as pb
from pagelet_api import metric_buckets
from pagelet_api.histogram import Histogram

_REASONS = (pb.STOP, pb.LENGTH, pb.ABORT, pb.DEADLINE)
_ANSWERED = {pb.STOP, pb.LENGTH}


class Measures:
    """Since the engine started."""

    def __init__(self) -> None:
        self.prompt_tokens = 0
        self.generation_tokens = 0
        self.broken_requests = 0
        self.finished_requests = dict.fromkeys(_REASONS, 0)
        self.time_to_first_token = Histogram(metric_buckets.TIME_TO_FIRST_TOKEN_S)
        self.inter_token = Histogram(metric_buckets.INTER_TOKEN_S)
        self.e2e = Histogram(metric_buckets.REQUEST_S)
        self.queue_time = Histogram(metric_buckets.REQUEST_S)
        self.iteration_tokens = Histogram(metric_buckets.STEP_TOKENS)

    def finished(self, reason: pb.FinishReason, latency_s: float) -> None:
        """A request has ended; its latency counts when it ended with an answer."""
        if reason in self.finished_requests:
            self.finished_requests[reason] += 1
        if reason in _ANSWERED:
            self.e2e.observe(latency_s)
