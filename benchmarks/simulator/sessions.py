"""How many chats run at once on today's models: blocks on demand beside a reservation of the longest answer.

KV cache: 90 % of the device's memory, less the weights and 2 GiB for activations. Both schedulers are saturated with
the same requests; a reservation is one contiguous area, so reserving depends on what the model *allows* and paging on
what people *use*.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from simulator.baselines.orca import reserve_max
from simulator.hardware import A100_40GB, GIB, H100_80GB, LLAMA_3_8B, MISTRAL_7B, CostModel
from simulator.measures import Journal
from simulator.simulation import Replay, System, simulate
from simulator.systems import BLOCK_SIZE, orca, pagelet
from simulator.traces import LONG_CHATS, SHAREGPT, Lengths, backlog
from tqdm import tqdm

MAX_NUM_SEQS = 1024
_ACTIVATION_BYTES = 2 * GIB


@dataclass(frozen=True, slots=True)
class Setting:
    """A model on a GPU, and what people ask it."""

    cost: CostModel
    lengths: Lengths
    reservations: tuple[int, ...]
    """Tokens: the model's longest answers to compare with."""

    @property
    def name(self) -> str:
        return f"{self.cost.model.name} on {self.cost.gpu.name}, {self.lengths.name}"

    @property
    def num_blocks(self) -> int:
        kv_bytes = 0.9 * self.cost.gpu.memory_bytes - self.cost.model.weight_bytes - _ACTIVATION_BYTES
        return self.cost.blocks_in(int(kv_bytes))


@dataclass(frozen=True, slots=True)
class Found:
    setting: Setting
    system: str
    saturated: Journal


Results = dict[str, list[Found]]
"""By setting; paging first."""

SETTINGS = (
    Setting(CostModel(H100_80GB, LLAMA_3_8B), SHAREGPT, (2048, 4096, 8192, 16_384, 32_768)),
    Setting(CostModel(H100_80GB, LLAMA_3_8B), LONG_CHATS, (8192, 16_384, 32_768)),
    Setting(CostModel(A100_40GB, MISTRAL_7B), SHAREGPT, (8192, 32_768)),
    Setting(CostModel(A100_40GB, MISTRAL_7B), LONG_CHATS, (8192, 32_768)),
)


def run(quick: bool) -> Results:
    runs = [(setting, system) for setting in SETTINGS for system in _systems(setting)]
    results: Results = {}
    for setting, system in tqdm(runs, unit="system", leave=False):
        arrivals = backlog(setting.lengths, 1500 if quick else 3000)
        found = Found(setting, system.name, simulate(system, Replay(arrivals), setting.cost))
        results.setdefault(setting.name, []).append(found)
    return results


def _systems(setting: Setting) -> Iterator[System]:
    yield pagelet(setting.num_blocks, setting.lengths.max_length, MAX_NUM_SEQS)
    for length in setting.reservations:
        yield orca(f"{length // 1024}k reserved", reserve_max(length), setting.num_blocks, MAX_NUM_SEQS)


COLUMNS = ("saturated", "running", "live ÷ allocated", "output tok/s", "ratio")


def rows(found: list[Found]) -> Iterator[tuple[str, ...]]:
    paged = found[0].saturated
    for one in found:
        journal = one.saturated
        yield (
            one.system,
            f"{journal.sessions:.0f}",
            f"{journal.utilisation:.1%}",
            f"{journal.output_tokens_per_s:,.0f}",
            f"{paged.output_tokens_per_s / journal.output_tokens_per_s:.1f}",
        )


def pools() -> dict[str, int]:
    """Token slots of each setting."""
    return {setting.name: setting.num_blocks * BLOCK_SIZE for setting in SETTINGS}


def as_json(results: Results) -> dict[str, Any]:
    return {
        name: {
            "token_slots": pools()[name],
            "systems": [
                {
                    "system": one.system,
                    "sessions": one.saturated.sessions,
                    "kv_utilisation": one.saturated.utilisation,
                    "output_tokens_per_s": one.saturated.output_tokens_per_s,
                }
                for one in found
            ],
        }
        for name, found in results.items()
    }
