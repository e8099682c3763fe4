"""An engine whose worker sleeps: front, pipe, core loop and scheduler as they are, no tensors, steps as long as wanted.

Run as a program it is the front; with `--pipe`, the core. Every step leaves a line in a log: when it began, when its
result was there, and the processor time that the worker itself took, which is none of the engine's.
"""

import argparse
import os
import struct
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from pagelet_api.config import EngineConfig
from pagelet_engine.core.costs import WorkerCosts
from pagelet_engine.core.step import Sampled, Segment, SlotStart, Step, TokenLogprobs, Worker
from pagelet_engine.server import core_child, core_process, main
from pagelet_engine.server.start import WorkerKind
from tokenizers import Tokenizer

_TEXT = Path(__file__).resolve().parent.parent / "docs" / "architecture.md"
_LINE = struct.Struct("<3d")
_NUM_BLOCKS = 20_000


@dataclass(frozen=True, slots=True)
class LoggedStep:
    """Seconds; the first two on CLOCK_MONOTONIC, which all processes of a machine share."""

    began_s: float
    ended_s: float
    worker_cpu_s: float


def read_log(path: Path) -> list[LoggedStep]:
    return [LoggedStep(*line) for line in _LINE.iter_unpack(path.read_bytes())]


@dataclass(frozen=True)
class _Facts:
    """Enough of SmolLM2 for a gateway to serve its tokenizer."""

    digest: str = "sha256:" + "00" * 32
    architecture: str = "LlamaForCausalLM"
    parameters: int = 0
    weight_bytes: int = 0
    dtype: str = "bfloat16"
    kv_cache_dtype: str = "bfloat16"
    device: str = "cpu"
    vocab_size: int = 49_152
    max_model_len: int = 8192
    eos_token_ids: tuple[int, ...] = (2,)
    bos_token_id: int | None = 1


_NO_COSTS = WorkerCosts(copy_s=0.0, overlaps=False)


@dataclass(frozen=True)
class _Loaded:
    worker: Worker
    num_blocks: int = _NUM_BLOCKS
    num_host_blocks: int = 0
    costs: WorkerCosts = _NO_COSTS
    groups: tuple[object, ...] = (None,)
    model: _Facts = _Facts()


@dataclass(frozen=True, slots=True)
class _Handle:
    results: Mapping[int, Sampled]

    def result(self) -> Mapping[int, Sampled]:
        return self.results


class _SleepingWorker:
    def __init__(self, model_dir: Path, step_s: float, log: Path) -> None:
        tokenizer = Tokenizer.from_file(str(model_dir / "tokenizer.json"))
        # ASCII, so that every token is text of its own.
        text = _TEXT.read_text().encode("ascii", "ignore").decode()
        self._drawn = [Sampled((token,)) for token in tokenizer.encode(text).ids]
        self._starts: dict[int, SlotStart] = {}
        self._step_s = step_s
        self._log = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def submit(self, step: Step) -> _Handle:
        began_s, began_cpu_s = time.monotonic(), time.thread_time()
        self._starts |= {start.slot: start for start in step.starts}
        results = {segment.sample: self._result(segment) for segment in step.segments}
        time.sleep(max(0.0, began_s + self._step_s - time.monotonic()))
        cpu_s = time.thread_time() - began_cpu_s
        os.write(self._log, _LINE.pack(began_s, time.monotonic(), cpu_s))
        return _Handle(results)

    def _result(self, segment: Segment) -> Sampled:
        start = self._starts[segment.slot]
        drawn = self._draw(segment)
        if start.sampling.logprobs is None and start.sampling.prompt_logprobs is None:
            return drawn
        targets = start.prompt[segment.start + 1 : segment.start + 1 + segment.num_tokens]
        return Sampled(
            drawn.tokens,
            _logprobs(drawn.tokens, start.sampling.logprobs),
            _logprobs(targets, start.sampling.prompt_logprobs),
        )

    def _draw(self, segment: Segment) -> Sampled:
        if not segment.samples_token:
            return Sampled(())
        return self._drawn[(segment.start + 17 * segment.sample) % len(self._drawn)]


def _logprobs(tokens: Sequence[int], top: int | None) -> tuple[TokenLogprobs, ...]:
    """Of the shape that was asked for: the same alternatives everywhere, all as likely as the token itself."""
    if top is None:
        return ()
    others, even = tuple(range(1000, 1000 + top)), (-3.0,) * top
    return tuple(TokenLogprobs(token, -3.0, 1, others, even) for token in tokens)


class _NoModel(Exception):
    """Never raised: this worker serves any folder with a tokenizer."""


def _run() -> NoReturn:
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)  # the front and the core have their own
    parser.add_argument("--step-s", type=float, required=True)
    parser.add_argument("--log", type=Path, required=True)
    parser.add_argument("--model-len", type=int, default=_Facts.max_model_len)
    own, rest = parser.parse_known_args()

    def load(model_dir: Path, config: EngineConfig) -> _Loaded:
        facts = _Facts(max_model_len=own.model_len)
        return _Loaded(_SleepingWorker(model_dir, own.step_s, own.log), model=facts)

    def core_command(model_dir: Path, config_file: Path, started_s: float, ranks_port: int) -> Sequence[str]:
        return [
            *(sys.executable, __file__, "--step-s", str(own.step_s), "--log", str(own.log)),
            *("--model-len", str(own.model_len)),
            *core_child.core_arguments(model_dir, config_file, started_s, ranks_port),
        ]

    if "--pipe" in rest:
        sys.exit(core_process.main(rest, import_worker=lambda crew: WorkerKind(load, _NoModel)))
    main.main(rest, command=core_command)


if __name__ == "__main__":
    _run()
