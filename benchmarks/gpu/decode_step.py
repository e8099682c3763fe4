"""A decode step of an 8B Llama shape: how long it takes, how much of that the memory's bandwidth explains, and how long
the device waits for the host between two steps.

Sequences are computed from their prompts by the engine itself, and steps are measured once each of them decodes.
"""

import statistics
import time
from collections.abc import Iterator
from typing import Any

from gpu.deadline import Deadline
from gpu.random_engine import RandomEngine
from gpu.roofline import least_s, works
from gpu.scene import Scene
from gpu.step_log import LoggedStep
from gpu.workloads import alike
from pagelet_api.config import Quantization

_SETTLING = 4
"""Steps of a whole batch before those that are measured."""


def measure(
    scene: Scene, deadline: Deadline, quantization: Quantization = Quantization.NONE
) -> Iterator[dict[str, Any]]:
    """A record a batch. Raises OutOfTime."""
    config = scene.engine_config(max_num_seqs=max(scene.batches), quantization=quantization)
    engine = RandomEngine(scene, scene.dense, config)
    spent_s = 0.0
    for batch in scene.batches:
        deadline.demand(spent_s)  # the next one takes longer than the last
        began_s = time.monotonic()
        yield _batch(engine, scene, batch)
        spent_s = time.monotonic() - began_s


def _batch(engine: RandomEngine, scene: Scene, batch: int) -> dict[str, Any]:
    # Those whose prompts come first go on until the last one is there.
    prefill_steps = -(-batch * scene.prompt_tokens // (scene.max_num_batched_tokens - batch)) + 1
    max_tokens = prefill_steps + _SETTLING + scene.measured_steps + 1
    name = f"{engine.quantization} {batch}"
    requests = alike(name, engine.shape.vocab_size, batch, scene.prompt_tokens, max_tokens).requests
    engine.log.steps.clear()
    engine.generate(requests)
    scene.synchronize()
    steps = [step for step in engine.log.steps if step.is_decode and len(step.shares) == batch][_SETTLING:]
    pace, peaks = engine.log.pace(steps), scene.peaks()
    work = works([step.shares for step in steps[1:]], engine.shape, engine.dtype, engine.quantization)
    return {
        "shape": "8B Llama",
        "weights": engine.dtype if engine.quantization == "none" else engine.quantization,
        "batch": batch,
        "context": round(statistics.mean(_contexts(steps))),
        "steps": len(pace.step_s),
        "step_s": statistics.median(pace.step_s),
        "tokens_per_s": batch * len(pace.step_s) / sum(pace.step_s),
        "step_bytes": round(statistics.mean(one.num_bytes for one in work)),
        "roofline_share": least_s(work, peaks, engine.quantization) / sum(pace.step_s),
        "gap_s": statistics.median(pace.gap_s),
        "gap_share": pace.gap_share,
        "late_steps": pace.num_late,
        "peaks": peaks.source,
    }


def _contexts(steps: list[LoggedStep[Any]]) -> list[int]:
    return [start + 1 for step in steps for _, start, _, _ in step.shares]
