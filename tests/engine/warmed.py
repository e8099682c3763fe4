"""python warmed.py MODEL CONFIG TARGET CACHE: warms the cache twice, then launches what an engine does: prints as JSON
what was said, and how many kernels the cache did not have.

MODEL is a folder with a config.json alone.
"""

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import triton
from pagelet_api.config import EngineConfig, KvCacheDtype, Quantization
from pagelet_engine.core.sampling import SamplingParams
from pagelet_engine.core.step import BlockCopy, Segment, SlotStart, Step, TableUpdate, Tier
from pagelet_engine.kernels.triton.block_copy import copy_blocks
from pagelet_engine.kernels.triton.compile_only import compiling
from pagelet_engine.layers.backend import Backend
from pagelet_engine.layers.triton import TritonBackend
from pagelet_engine.models.registry import Model, build_model
from pagelet_engine.warm import warm
from pagelet_engine.worker.blueprint import Blueprint
from pagelet_engine.worker.device.cpu import cpu_kit
from pagelet_engine.worker.device.cuda_kit import OPS, weight_format
from pagelet_engine.worker.device.execution import Group
from pagelet_engine.worker.device.header import Header
from pagelet_engine.worker.device.kit import Kit
from pagelet_engine.worker.device.loading import build_leader
from pagelet_engine.worker.device.sections import Sections
from pagelet_engine.worker.device.triton_batches import TritonBatches
from pagelet_engine.worker.device.warming import Shapes, launch_everything
from pagelet_engine.worker.kv_pool import KvPool
from pagelet_engine.worker.results import FailedStep

CPU = torch.device("cpu")
NUM_SMS = 132


class Ranks(Shapes):
    """Implements `execution.Group`."""

    def broadcast(self, tensor: torch.Tensor) -> None:
        pass

    def least(self, number: int) -> int:
        return number


@dataclass(frozen=True, slots=True)
class Weightless(Blueprint):
    def build(self, backend: Backend) -> Model:
        return build_model(self.shape, self.raw, backend)


class Copies:
    def __init__(self, pool: KvPool) -> None:
        self._pool = pool

    def run(self, header: Header, sections: Sections[torch.Tensor]) -> None:
        for pages, pairs in zip(self._pool.bytes, sections.copies, strict=True):
            if len(pairs):
                copy_blocks(pages, pairs)


class Eager:
    """Implements `graphs.Recorder`."""

    def record(self, launch: Callable[[], torch.Tensor]) -> Callable[[], torch.Tensor]:
        launch()
        return launch


def kit(config: EngineConfig) -> Kit:
    """A GPU's, with tensors in host memory."""

    def backend(blueprint: Blueprint, group: Group) -> TritonBackend:
        return TritonBackend(blueprint.dtype, CPU, NUM_SMS, group, weight_format(config, blueprint.dtype, CPU))

    return replace(
        cpu_kit(config.model_copy(update={"quantization": Quantization.NONE, "kv_cache_dtype": KvCacheDtype.AUTO})),
        backend=backend,
        batches=TritonBatches,
        copies=Copies,
        sampling=OPS,
        recorder=Eager(),
    )


def steps(num_groups: int) -> list[Step]:
    """Of every kind: prompts whole and in parts, decodes, some of both; samples with wishes and without. One, two and
    three of them begin at once, and copies of blocks too, so that what is packed lies at many offsets."""
    greedy = SamplingParams(temperature=0)
    plain = SamplingParams(prompt_logprobs=2)
    filtered = SamplingParams(top_p=0.9, top_k=5)
    edited = SamplingParams(
        repetition_penalty=1.2, logit_bias={3: 1.0, 5: 2.0}, min_tokens=2, stop_token_ids=frozenset((1, 2, 4))
    )

    def begin(slot: int, sampling: SamplingParams) -> SlotStart:
        return SlotStart(slot, 0, sampling, (1, 2, 3, 4, 5))

    def prompt(slot: int, start: int, tokens: int, *, draws: bool = True) -> Segment:
        updates = tuple(TableUpdate(group, start // 16, slot + 1) for group in range(num_groups))
        return Segment(slot, slot, start, tokens, (7,) * tokens, updates, draws)

    def decode(slot: int) -> Segment:
        return Segment(slot, slot, 40, 1, ())

    copies = tuple(BlockCopy(0, Tier.DEVICE, 1, Tier.DEVICE, block) for block in (5, 6, 7))
    return [
        Step(1, (begin(0, greedy),), (), (prompt(0, 0, 5),)),
        Step(2, (begin(1, edited), begin(2, plain)), (), (prompt(1, 0, 3), prompt(2, 0, 17, draws=False), decode(0))),
        Step(3, (begin(3, edited),), copies[:1], (prompt(2, 17, 1), decode(0), decode(1), prompt(3, 0, 5))),
        Step(4, (), copies, (decode(0), decode(1), decode(2))),
        Step(5, tuple(begin(slot, edited) for slot in (1, 2, 3)), copies[:2], (prompt(1, 0, 33), prompt(3, 0, 2))),
        Step(6, (begin(0, filtered),), (), (prompt(0, 0, 6),)),
        Step(7, (), (), (decode(0),)),
        Step(8, (), (), tuple(decode(slot) for slot in range(4))),
    ]


def missing(launch: Callable[[], None], target: str) -> list[str]:
    """Names of the kernels that were not in the cache."""
    found: list[str] = []

    def note(*, src: Any, cache_hit: bool, **_: Any) -> None:
        if not cache_hit:
            found.append(src.name)

    triton.knobs.compilation.listener = note
    with compiling(target):
        launch()
    return found


def serve(blueprint: Blueprint, config: EngineConfig) -> None:
    group = Ranks(config.tensor_parallel_size)
    leader = build_leader(blueprint, config, group, kit(config), lambda step, header: None)("")
    for step in steps(len(leader.groups)):
        handle = leader.worker.submit(step)
        if isinstance(handle, FailedStep):
            handle.result()


def main(model: Path, config_file: Path, target: str, cache: str) -> None:
    triton.knobs.cache.dir = cache
    config = EngineConfig.read(config_file)
    blueprint = Weightless.read(model, config)
    said = [warm(blueprint, config, target) for _ in range(2)]
    with_numbers = missing(lambda: launch_everything(blueprint, config, CPU), target)
    served = missing(lambda: serve(blueprint, config), target)
    print(json.dumps({"said": said, "with numbers": with_numbers, "served": served}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], sys.argv[4])
