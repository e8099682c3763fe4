"""The sampler, beside torch's that sorts the vocabulary: random logits at the sizes of well-known vocabularies."""

from collections.abc import Callable, Iterator
from itertools import product

import numpy as np
import torch
from gpu.timing import Peaks, Row, device_peaks, rotation, seconds_a_call
from pagelet_engine.core.sampling import SamplingParams
from pagelet_engine.core.step import SlotStart
from pagelet_engine.kernels.sampling_table import SamplingTable, StartRows
from pagelet_engine.kernels.triton.sample import sample
from pagelet_engine.kernels.triton.sampling_rows import start_rows
from pagelet_engine.worker.device.packed_starts import PackedStarts
from torch import Tensor

VOCABULARIES = {"Llama 3": 128_256, "Gemma 3": 262_144}
ROWS = (1, 32, 256)
SPREAD = 3.0
"""Standard deviation of the logits: some hundred tokens make nine tenths of the mass."""
KINDS = {
    "greedy": SamplingParams(temperature=0),
    "temperature": SamplingParams(),
    "top-k, top-p": SamplingParams(top_k=50, top_p=0.9),
    "top-p": SamplingParams(top_p=0.9),
    "flat, top-p": SamplingParams(temperature=SPREAD, top_p=0.9),
    "penalties, top-p": SamplingParams(repetition_penalty=1.1, presence_penalty=0.5, top_p=0.9),
}


def measure() -> Iterator[Row]:
    peaks = device_peaks()
    for name, vocab in VOCABULARIES.items():
        for rows, (kind, sampling) in product(ROWS, KINDS.items()):
            yield _row(f"{name}, {kind}, {rows} rows", rows, vocab, sampling, peaks)


def _row(case: str, rows: int, vocab: int, sampling: SamplingParams, peaks: Peaks) -> Row:
    """The share counts one walk of the logits, which is the least that any sampler reads."""
    row_bytes = rows * vocab * 4
    inputs = [torch.randn(rows, vocab, device="cuda") * SPREAD for _ in range(rotation(row_bytes))]
    table = _table(rows, vocab, sampling)
    seconds = seconds_a_call([_ours(logits, table, sampling) for logits in inputs])
    sort_s = seconds_a_call([_sorting(logits, sampling) for logits in inputs])
    return Row.of_bytes("sample", case, seconds, row_bytes, peaks, sort=sort_s)


def _table(rows: int, vocab: int, sampling: SamplingParams) -> SamplingTable:
    table = SamplingTable.empty(rows, vocab, 1, 1, torch.device("cuda"))
    text = np.random.default_rng(0).integers(0, vocab, 1000).tolist()
    starts = PackedStarts.of([SlotStart(slot, 0, sampling, tuple(text)) for slot in range(rows)], vocab)
    start_rows(table, StartRows(*(torch.from_numpy(array).cuda() for array in starts.arrays)))
    return table


def _ours(logits: Tensor, table: SamplingTable, sampling: SamplingParams) -> Callable[[], object]:
    slots = torch.arange(len(logits), dtype=torch.int32, device="cuda")
    positions = torch.full_like(slots, 1000)
    return lambda: sample(
        logits,
        slots,
        positions,
        table,
        any_edited=sampling.repetition_penalty != 1,
        any_random=sampling.temperature > 0,
        any_filtered=sampling.top_p < 1,
    )


def _sorting(logits: Tensor, sampling: SamplingParams) -> Callable[[], Tensor]:
    """Without penalties."""
    if sampling.temperature == 0:
        return lambda: logits.argmax(-1)

    def run() -> Tensor:
        probabilities = (logits / sampling.temperature).softmax(-1)
        if sampling.top_p == 1:
            return _race(probabilities)
        descending, tokens = probabilities.sort(descending=True)
        if sampling.top_k:
            descending[:, sampling.top_k :] = 0
        sums = descending.cumsum(-1)
        descending[sums - descending >= sampling.top_p * sums[:, -1:]] = 0
        return tokens.gather(1, _race(descending))

    return run


def _race(weights: Tensor) -> Tensor:
    """(rows, 1) a place of each of weights (rows, vocab), drawn without asking the device whether they are sound, as
    `multinomial` does."""
    return (weights / torch.empty_like(weights).exponential_()).argmax(-1, keepdim=True)
