"""The sampler at the vocabularies of well-known models, and what becomes of its table between draws."""

from functools import partial

import torch
from pagelet_engine.kernels.sampling_table import SamplingTable, StartRows
from pagelet_engine.kernels.triton.sample import sample
from pagelet_engine.kernels.triton.sampling_rows import note_drawn, start_rows


def ints(*shape: int) -> torch.Tensor:
    return torch.empty(shape, dtype=torch.int32)


def table_of(vocab: int) -> SamplingTable:
    return SamplingTable(ints(2, 12), ints(2, vocab), ints(2, 1024), torch.empty(2, 1024), ints(2, 72))


def draw(vocab: int, *, any_edited: bool, any_random: bool, any_filtered: bool) -> None:
    sample(
        torch.empty(2, vocab),
        ints(2),
        ints(2),
        table_of(vocab),
        any_edited=any_edited,
        any_random=any_random,
        any_filtered=any_filtered,
    )


def rows_between_draws() -> None:
    table = table_of(128256)
    start_rows(table, StartRows(ints(2), ints(2, 12), ints(2, 4), ints(2, 3), ints(2, 2)))
    note_drawn(ints(2), ints(2), ints(2), table, any_penalised=True)


CASES = {
    "every stage, 262,144 tokens": (
        partial(draw, 262144, any_edited=True, any_random=True, any_filtered=True),
        ("sm_80", "sm_90", "sm_100", "gfx942"),
    ),
    "temperature alone, 128,256 tokens": (
        partial(draw, 128256, any_edited=False, any_random=True, any_filtered=False),
        ("sm_80", "gfx942"),
    ),
    "rows between draws": (rows_between_draws, ("sm_90", "gfx942")),
}
