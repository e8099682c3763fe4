"""A Qwen3-0.6B shape under a load of many requests at once: output tokens a second, and their share of what the device
allows for the very steps that the scheduler decided."""

import time
from collections.abc import Iterator
from typing import Any

from gpu.deadline import Deadline
from gpu.random_engine import RandomEngine
from gpu.roofline import least_s, works
from gpu.scene import Scene
from gpu.workloads import alike, mixed

_WARM_UP = 8
_REPORTING_S = 15.0
"""What the floors of all steps take."""


def measure(scene: Scene, deadline: Deadline) -> Iterator[dict[str, Any]]:
    """One record: of all requests, or of what was there when its time was over. Raises OutOfTime."""
    engine = RandomEngine(scene, scene.small, scene.engine_config(max_num_seqs=scene.num_requests))
    engine.generate(alike("warm-up", engine.shape.vocab_size, _WARM_UP, *scene.lengths).requests)
    scene.synchronize()
    engine.log.steps.clear()
    workload = mixed(scene)
    deadline.demand(_REPORTING_S)
    began_s = time.monotonic()
    outputs = engine.generate(workload.requests, deadline.at_s - _REPORTING_S)
    seconds = time.monotonic() - began_s
    scene.synchronize()
    peaks, steps = scene.peaks(), engine.log.steps
    work = works([step.shares for step in steps], engine.shape, engine.dtype, engine.quantization)
    output_tokens = sum(output.num_tokens for output in outputs)
    yield {
        "engine": "pagelet",
        "attention": "ours",
        "max_num_batched_tokens": scene.max_num_batched_tokens,
        "requests": len(outputs),
        "ended": sum(
            output.num_tokens == asked.max_tokens for output, asked in zip(outputs, workload.requests, strict=True)
        ),
        "prompt_tokens": workload.prompt_tokens,
        "output_tokens": output_tokens,
        "seconds": seconds,
        "tokens_per_s": output_tokens / seconds,
        "roofline_share": least_s(work, peaks) / seconds,
        "steps": len(steps),
        "gap_share": engine.log.pace(steps).gap_share,
        "first_tokens": [output.first_token for output in outputs],
        "peaks": peaks.source,
    }
