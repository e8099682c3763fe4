"""A worker without tensors: the token at position p is p, and switches in the model's folder say how it misbehaves.

A switch is a file in `<model>/switches`: `hold` makes steps wait until it is gone, `slow` makes them take some
milliseconds, `raise` fails the next one, `die` kills the process as a device that takes it along would, `nan` makes
every row of logits NaN. So do prompts that begin with NAN; to those that begin with NOTHING, nothing is left to sample.
"""

import os
import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pagelet_api.config import EngineConfig
from pagelet_engine.core.costs import WorkerCosts
from pagelet_engine.core.step import NoToken, Sampled, Segment, Step, TokenLogprobs, Worker

VOCABULARY = 100_000
MAX_MODEL_LEN = 50_000
NUM_BLOCKS = 20_000
TOP = 20
EOS = VOCABULARY - 1
NAN, NOTHING = VOCABULARY - 2, VOCABULARY - 3
_NO_TOKEN = {NAN: NoToken.NON_FINITE, NOTHING: NoToken.NOTHING_LEFT}
SLOW_STEP_S = 0.005
NO_COSTS = WorkerCosts(copy_s=0.0, overlaps=False)


class FakeModelError(Exception):
    """What load_worker raises for a model that it cannot serve."""


@dataclass(frozen=True)
class FakeFacts:
    digest: str = "sha256:" + "ab" * 32
    architecture: str = "FakeForCausalLM"
    parameters: int = 1
    weight_bytes: int = 2
    dtype: str = "float32"
    kv_cache_dtype: str = "float32"
    device: str = "cpu"
    vocab_size: int = VOCABULARY
    max_model_len: int = MAX_MODEL_LEN
    eos_token_ids: tuple[int, ...] = (EOS,)
    bos_token_id: int | None = 1


@dataclass(frozen=True)
class FakeLoadedWorker:
    worker: Worker
    num_blocks: int = NUM_BLOCKS
    num_host_blocks: int = 0
    costs: WorkerCosts = NO_COSTS
    groups: tuple[object, ...] = (None,)
    model: FakeFacts = FakeFacts()


@dataclass(frozen=True)
class FakeHandle:
    results: Mapping[int, Sampled]

    def result(self) -> Mapping[int, Sampled]:
        return self.results


class FakeWorker:
    def __init__(self, switches: Path | None = None) -> None:
        self._switches = switches
        self._logprobs: dict[int, int | None] = {}  # slot → top alternatives
        self._no_token: dict[int, NoToken | None] = {}  # slot → why it gets none

    def submit(self, step: Step) -> FakeHandle:
        if self._switches:
            self._misbehave(self._switches)
        for start in step.starts:
            self._logprobs[start.slot] = start.sampling.logprobs
            self._no_token[start.slot] = _NO_TOKEN.get(start.prompt[0])
            if self._switches and (self._switches / "nan").exists():
                self._no_token[start.slot] = NoToken.NON_FINITE
        return FakeHandle({segment.sample: self._draw(segment) for segment in step.segments})

    def _draw(self, segment: Segment) -> Sampled:
        if not segment.samples_token:
            return Sampled(())
        if no_token := self._no_token[segment.slot]:
            return Sampled((), no_token=no_token)
        token = segment.start + segment.num_tokens
        top = self._logprobs[segment.slot]
        if top is None:
            return Sampled((token,))
        alternatives = tuple(range(token, token + top))
        return Sampled((token,), (TokenLogprobs(token, -0.5, 1, alternatives, (-0.5,) * top),))

    def _misbehave(self, switches: Path) -> None:
        while (switches / "hold").exists():
            time.sleep(0.001)
        if (switches / "slow").exists():
            time.sleep(SLOW_STEP_S)
        if (switches / "raise").exists():
            raise ValueError("the device is on fire")
        if (switches / "die").exists():
            os.kill(os.getpid(), signal.SIGKILL)


def load_fake_worker(model_dir: Path, config: EngineConfig) -> FakeLoadedWorker:
    while (model_dir / "switches" / "hold_loading").exists():
        time.sleep(0.001)
    if (model_dir / "broken").exists():
        raise FakeModelError(f"{model_dir} is broken: wanted a model, found a fake")
    return FakeLoadedWorker(FakeWorker(model_dir / "switches"))
