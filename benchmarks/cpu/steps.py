"""The real steps of a workload: the engine's own scheduler decides them, over a worker that computes nothing.

All requests arrive at once, as the client sends them. Owns what a floor needs to know of each step: who computes which
positions, and in which blocks the positions before them lie.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pagelet_api import sizes
from pagelet_api.sizes import ModelShape
from pagelet_api.v1alpha1 import InferenceServiceSpec
from pagelet_engine.core.engine import EngineCore
from pagelet_engine.core.request import Request as EngineRequest
from pagelet_engine.core.sampling import SamplingParams
from pagelet_engine.core.scheduler import Scheduler
from pagelet_engine.core.step import Sampled, Segment, Step
from workload import Workload

_ANY_TOKEN = 0


@dataclass(frozen=True, slots=True)
class Span:
    """One sample's share of a step."""

    start: int
    num_tokens: int
    blocks: tuple[int, ...]
    """Of the positions before `start`, in order, in the first KV group."""
    draws: bool


StepSpans = tuple[Span, ...]


def real_steps(workload: Workload, shape: ModelShape, dtype: str, spec: InferenceServiceSpec) -> list[StepSpans]:
    """Every step of the workload, with an engine of this spec and this type of weights and KV cache."""
    engine = spec.engine
    groups = sizes.kv_groups(shape)
    num_blocks = sizes.num_blocks(engine.kv_cache_memory.num_bytes, groups, engine.block_size, dtype)
    scheduler = Scheduler(
        num_blocks=num_blocks,
        block_size=engine.block_size,
        max_model_len=engine.max_model_len or shape.max_position,
        max_batched_tokens=engine.max_num_batched_tokens,
        max_num_seqs=engine.max_num_seqs,
        max_queued=engine.max_queued_requests,
        num_kv_groups=len(groups),
        prefix_caching=engine.prefix_caching,
    )
    worker = _Recorder(engine.block_size)
    core = EngineCore(scheduler, worker, depth=1)
    for number, request in enumerate(workload.requests):
        sampling = SamplingParams(max_tokens=request.max_tokens, temperature=0.0)
        core.add(EngineRequest(str(number), request.prompt, sampling))
    while core.has_work:
        core.step()
    return worker.steps


class _Recorder:
    """A worker that draws the same token for everybody, and keeps what it was asked to compute."""

    def __init__(self, block_size: int) -> None:
        self.steps: list[StepSpans] = []
        self._block_size = block_size
        self._tables: dict[int, list[int]] = {}  # by slot, of the first KV group

    def submit(self, step: Step) -> "_Done":
        for start in step.starts:
            self._tables[start.slot] = []
        self.steps.append(tuple(self._span(segment) for segment in step.segments))
        return _Done(step.segments)

    def _span(self, segment: Segment) -> Span:
        table = self._tables[segment.slot]
        for update in segment.table_updates:
            if update.group == 0:
                table[update.index :] = [update.block]
        before = table[: -(-segment.start // self._block_size)]
        return Span(segment.start, segment.num_tokens, tuple(before), segment.samples_token)


class _Done:
    def __init__(self, segments: Sequence[Segment]) -> None:
        self._segments = segments

    def result(self) -> Mapping[int, Sampled]:
        return {segment.sample: Sampled((_ANY_TOKEN,) if segment.samples_token else ()) for segment in self._segments}
