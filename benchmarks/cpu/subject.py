"""What is served: a model folder, as one engine of a given spec holds it; and what the machine allows it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from cpu.floor import floor_s, work_of
from cpu.limits import DOTS_OF_DTYPE, Limits
from cpu.steps import real_steps
from cpu.summary import Limit
from local_server import service
from pagelet_api import sizes
from pagelet_api.sizes import ModelShape
from pagelet_api.v1alpha1 import InferenceServiceSpec
from workload import Workload


@dataclass(frozen=True, slots=True)
class Subject:
    folder: Path
    shape: ModelShape
    dtype: str
    service: Mapping[str, Any]
    spec: InferenceServiceSpec

    @classmethod
    def of(cls, folder: Path, dtype: str, engine: Mapping[str, Any]) -> Self:
        """`engine` are further fields of spec.engine."""
        shape = ModelShape.from_config(json.loads((folder / "config.json").read_text()))
        made = service(folder, **{**engine, "dtype": dtype})
        return cls(folder, shape, dtype, made, InferenceServiceSpec.model_validate(made["spec"]))

    def in_dtype(self, dtype: str) -> "Subject":
        return Subject.of(self.folder, dtype, self.service["spec"]["engine"])

    @property
    def weight_bytes(self) -> int:
        return sizes.weight_bytes(self.shape, self.dtype, self.spec.engine.quantization)

    def limits_of(self, workload: Workload, limits: Limits) -> dict[str, Limit]:
        """By instruction set: what no engine on this machine can pass, with the steps of our scheduler."""
        steps = real_steps(workload, self.shape, self.dtype, self.spec)
        engine = self.spec.engine
        work = [work_of(step, self.shape, self.dtype, engine.quantization, engine.block_size) for step in steps]
        first = 1 + next(index for index, step in enumerate(steps) if any(span.draws for span in step))
        found = {}
        for dot in DOTS_OF_DTYPE[self.dtype]:
            if dot not in limits.flops_per_s:
                continue
            rates = limits.rates(dot)
            alone = len(workload.requests) == 1  # judged by its speed after the first token
            seconds = floor_s(work[first:] if alone else work, rates)
            tokens = workload.output_tokens - (1 if alone else 0)
            found[dot] = Limit(tokens / seconds, floor_s(work[:first], rates))
        return found
