"""The sampler on the packed table, in torch: the tokens of the worker's sampler on unpacked slots; its distribution."""

import random

import pytest
import torch
from pagelet_engine.core.sampling import SamplingParams
from pagelet_engine.core.step import SlotStart
from pagelet_engine.kernels.reference.sample import sample
from pagelet_engine.kernels.reference.sampling_rows import note_drawn, start_rows
from pagelet_engine.worker.local.draw import Draw
from pagelet_engine.worker.local.sampler import greedy
from pagelet_engine.worker.local.sampler import sample as workers_sample
from pagelet_engine.worker.local.sampling_ops import TorchSampling
from pagelet_engine.worker.local.slots import Slots

from tests.engine.kernels.sampled_rows import EVERY_STAGE, Draws, any_logits, any_start, packed, poisoned_table

CPU = torch.device("cpu")


@pytest.mark.parametrize("vocab", [199, 1000, 5000])
def test_draws_what_the_workers_sampler_draws_and_remembers_alike(vocab):
    source, rows = random.Random(vocab), 150
    starts = [any_start(source, slot, vocab) for slot in range(rows)]
    packed_draws, slots = Draws.of(starts, vocab, start_rows, CPU), Slots(rows, vocab, 1, 1, CPU)
    last_token = torch.zeros(rows, dtype=torch.int32)
    for start in starts:
        slots.start(start)
    for later in range(3):
        logits = any_logits(source, rows, vocab)
        positions = packed_draws.positions + later
        draws = [Draw(slot, position) for slot, position in enumerate(positions.tolist())]
        wanted = workers_sample(logits.clone(), greedy(logits), draws, slots, TorchSampling())
        tokens, status = sample(logits, packed_draws.slots, positions, packed_draws.table, **EVERY_STAGE)
        assert tokens.tolist() == wanted.tokens.tolist()
        assert status.tolist() == wanted.status.tolist()
        slots.note_drawn(list(range(rows)), wanted.tokens)
        note_drawn(tokens, packed_draws.slots, last_token, packed_draws.table, any_penalised=True)
        assert last_token.tolist() == slots.last_token.tolist()


def test_a_slot_forgets_who_had_it():
    source, vocab = random.Random(0), 50
    table = poisoned_table(1, vocab, CPU)
    logits = any_logits(source, 1, vocab)
    slots, positions = torch.tensor([0]).int(), torch.tensor([80]).int()
    start = SlotStart(0, 0, SamplingParams(temperature=0, frequency_penalty=0.5, logit_bias={3: 1.0}), (1, 2), (3,))
    start_rows(table, packed([start], vocab, CPU))
    wanted = sample(logits, slots, positions, table, **EVERY_STAGE)
    for _ in range(20):
        start_rows(table, packed([any_start(source, 0, vocab)], vocab, CPU))
    start_rows(table, packed([start], vocab, CPU))
    assert sample(logits, slots, positions, table, **EVERY_STAGE) == wanted


@pytest.mark.parametrize(
    "sampling",
    [
        SamplingParams(seed=1, temperature=0.6),
        SamplingParams(seed=2, top_k=6, top_p=0.8, min_p=0.05, temperature=1.2),
    ],
)
def test_frequencies_are_the_probabilities(sampling):
    """Chi-square over 20,000 draws; 99.9 % of such sums are below 32.9 even with 12 degrees of freedom."""
    n, vocab = 20_000, 13
    row = torch.linspace(-2, 1.5, vocab)[torch.randperm(vocab, generator=torch.Generator().manual_seed(0))]
    draws = Draws.of([SlotStart(0, 0, sampling, (0,))], vocab, start_rows, CPU)
    slots, positions = draws.slots.expand(n), torch.arange(n, dtype=torch.int32)
    tokens, _ = sample(row.expand(n, -1), slots, positions, draws.table, **EVERY_STAGE)

    probabilities = (row.double() / sampling.temperature).softmax(-1)
    order = probabilities.argsort(descending=True)
    kept = torch.ones(vocab, dtype=torch.bool)
    if sampling.top_k:
        kept[order[sampling.top_k :]] = False
        after_k = probabilities * kept / (probabilities * kept).sum()
        kept[order[1:][after_k[order].cumsum(0)[:-1] >= sampling.top_p]] = False
    kept &= probabilities >= sampling.min_p * probabilities.max()
    expected = (probabilities * kept / (probabilities * kept).sum() * n)[kept]
    found = torch.bincount(tokens, minlength=vocab)
    assert found[~kept].sum() == 0
    assert float(((found[kept] - expected) ** 2 / expected).sum()) < 32.9
