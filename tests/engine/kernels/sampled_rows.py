"""Samples of every kind, their rows of the sampling table, and their logits: what tests of the sampler draw from."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from pagelet_engine.core.sampling import SamplingParams
from pagelet_engine.core.step import SlotStart
from pagelet_engine.kernels.sampling_table import SamplingTable, StartRows
from pagelet_engine.worker.device.packed_starts import PackedStarts
from torch import Tensor

MAX_BIAS, MAX_FORBIDDEN = 150, 70
EVERY_STAGE = {"any_edited": True, "any_random": True, "any_filtered": True}

Start = Callable[[SamplingTable, StartRows], None]


def any_start(source: random.Random, slot: int, vocab: int) -> SlotStart:
    """A sample that wants some of the stages."""
    choice = source.choice

    def tokens(count: int) -> list[int]:
        return [source.randrange(vocab) for _ in range(count)]

    sampling = SamplingParams(
        temperature=choice([0.0, 0.3, 1.0, 1.0, 1.7]),
        top_k=choice([0, 0, 1, 5, vocab // 3, vocab, 2 * vocab]),
        top_p=choice([1.0, 1.0, 0.0, 1e-6, 0.5, 0.9, 0.999]),
        min_p=choice([0.0, 0.0, 0.1, 0.6, 1.0]),
        repetition_penalty=choice([1.0, 1.0, 0.5, 1.3]),
        presence_penalty=choice([0.0, 0.0, -1.0, 0.7]),
        frequency_penalty=choice([0.0, 0.0, -0.4, 0.6]),
        logit_bias={token: source.uniform(-5, 5) for token in tokens(choice([0, 0, 3, MAX_BIAS]))},
        min_tokens=choice([0, 0, 4]),
        stop_token_ids=frozenset(tokens(choice([0, 3, MAX_FORBIDDEN]))),
        seed=source.getrandbits(64),
    )
    output = tokens(choice([0, 6, 40]))
    return SlotStart(slot, source.randrange(128), sampling, tuple(tokens(30)), tuple(output + output[:3]))


def any_logits(source: random.Random, rows: int, vocab: int) -> Tensor:
    """(rows, vocab), each row with a spread of its own; many of every other row's are equal; each third holds −∞."""
    generator = torch.Generator().manual_seed(source.getrandbits(32))
    logits = torch.randn(rows, vocab, generator=generator)
    logits *= torch.tensor([source.choice([0.01, 0.3, 1.0, 4.0]) for _ in range(rows)])[:, None]
    logits[::2] = (logits[::2] * 2).round() / 2
    logits[::3] = logits[::3].masked_fill(torch.rand(len(logits[::3]), vocab, generator=generator) < 0.4, -torch.inf)
    return logits


def packed(starts: Sequence[SlotStart], vocab: int, device: torch.device) -> StartRows:
    arrays = PackedStarts.of(starts, vocab).arrays
    return StartRows(*(torch.from_numpy(array).to(device) for array in arrays))


def poisoned_table(num_slots: int, vocab: int, device: torch.device) -> SamplingTable:
    """Full of what nobody may read."""
    table = SamplingTable.empty(num_slots, vocab, MAX_BIAS, MAX_FORBIDDEN, device)
    for tensor in (table.params, table.token_counts, table.bias_tokens, table.forbidden):
        tensor.fill_(-7)
    table.bias_values.fill_(torch.nan)
    return table


@dataclass(frozen=True)
class Draws:
    """One row of logits for each of some samples."""

    slots: Tensor
    positions: Tensor
    table: SamplingTable

    @classmethod
    def of(cls, starts: Sequence[SlotStart], vocab: int, start_rows: Start, device: torch.device) -> "Draws":
        table = poisoned_table(2 + max(start.slot for start in starts), vocab, device)
        start_rows(table, packed(starts, vocab, device))
        positions = [len(start.prompt) + len(start.output) for start in starts]
        slots = [start.slot for start in starts]
        return cls(
            torch.tensor(slots, dtype=torch.int32, device=device),
            torch.tensor(positions, dtype=torch.int32, device=device),
            table,
        )
