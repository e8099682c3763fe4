"""The sampler's kernels against the reference: the same tokens for the same seeds, and the same table after them."""

import random
from dataclasses import fields

import pytest
import torch
import triton
import triton.language as tl
from pagelet_engine.core.sampling import SamplingParams
from pagelet_engine.core.step import SlotStart
from pagelet_engine.kernels.reference import sampling_rows as reference_rows
from pagelet_engine.kernels.reference.philox import uniform as reference_uniform
from pagelet_engine.kernels.reference.sample import sample as reference_sample
from pagelet_engine.kernels.row_status import RowStatus
from pagelet_engine.kernels.sampling_table import SamplingTable
from pagelet_engine.kernels.triton import philox
from pagelet_engine.kernels.triton.sample import sample
from pagelet_engine.kernels.triton.sampling_rows import note_drawn, start_rows

from tests.engine.kernels.sampled_rows import EVERY_STAGE, Draws, any_logits, any_start, packed, poisoned_table

STAGES = ("any_edited", "any_random", "any_filtered")


def check(logits: torch.Tensor, draws: Draws, **stages: bool) -> None:
    before = logits.clone()
    tokens, status = sample(logits, draws.slots, draws.positions, draws.table, **stages)
    wanted, wanted_status = reference_sample(logits, draws.slots, draws.positions, draws.table, **stages)
    real = draws.slots >= 0
    assert status[real].tolist() == wanted_status[real].tolist()
    means_something = real & (wanted_status == RowStatus.SAMPLED)
    assert tokens[means_something].tolist() == wanted[means_something].tolist()
    assert tokens.dtype == status.dtype == torch.int32
    torch.testing.assert_close(logits, before, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize(
    ("vocab", "rows"),
    [
        (199, 24),
        (1000, 14),
        (4097, 5),
        (9000, 5),
        *(pytest.param(*case, marks=pytest.mark.nightly) for case in [(200, 300), (1001, 200), (9001, 100)]),
    ],
)
def test_draws_what_the_reference_draws(vocab, rows, device):
    """Any stages in any row of a batch, of 1, 2 and 3 tiles; padded rows between; rows longer than the vocabulary."""
    source = random.Random(vocab)
    starts = [any_start(source, slot, vocab) for slot in range(rows)]
    draws = Draws.of(starts, vocab, reference_rows.start_rows, device)
    draws.slots[2:4] = -1
    logits = torch.full((rows, vocab + 5), torch.nan)
    logits[:, :vocab] = any_logits(source, rows, vocab)
    check(logits.to(device)[:, :vocab], draws, **EVERY_STAGE)


@pytest.mark.parametrize("wanted", [0, 1, 2, 3])
def test_stages_that_no_row_wants_are_left_out(wanted, device):
    """Greedy; with a temperature; with edits; with a temperature and edits."""
    vocab = 600
    edits = {"presence_penalty": 1.0, "logit_bias": {7: 3.0}} if wanted >= 2 else {}
    starts = [
        SlotStart(slot, 0, SamplingParams(temperature=wanted % 2, seed=slot, **edits), (1, 2, 3), (4, 5))
        for slot in range(6)
    ]
    stages = dict(zip(STAGES, (wanted >= 2, wanted % 2 == 1, False), strict=True))
    draws = Draws.of(starts, vocab, reference_rows.start_rows, device)
    check(any_logits(random.Random(wanted), 6, vocab).to(device), draws, **stages)


FILTERS = [
    {},
    {"top_k": 1},
    {"top_k": 4999},
    {"top_p": 0.0},
    {"top_p": 0.5},
    {"top_p": 1 - 2**-24},
    {"min_p": 1.0},
    {"top_k": 700, "top_p": 0.25, "min_p": 0.01},
]


@pytest.mark.parametrize("kind", ["all equal", "one token", "two levels", "steep"])
def test_rows_of_ties_and_of_zeros_keep_what_the_reference_keeps(kind, device):
    vocab = 5000
    row = torch.full((vocab,), -torch.inf)
    if kind == "all equal":
        row[:] = 1.25
    elif kind == "one token":
        row[4321] = -3.0
    elif kind == "two levels":
        row[:] = -1.0
        row[torch.arange(0, vocab, 7)] = 0.5
    else:
        row[:] = -0.05 * torch.arange(vocab).flip(0)  # down to weights of 0
    starts = [SlotStart(slot, 0, SamplingParams(seed=slot, **own), (0,)) for slot, own in enumerate(FILTERS)]
    draws = Draws.of(starts, vocab, reference_rows.start_rows, device)
    check(row.expand(len(starts), -1).contiguous().to(device), draws, **EVERY_STAGE)


@pytest.mark.parametrize("position", [180, 844])
def test_the_least_likely_token_that_is_kept_is_drawn_and_the_next_is_not(position, device):
    """Where seed 0's number exceeds 0.995, the last of up to 49 tokens of nearly equal weight is drawn: not one more is
    kept, and not one less."""
    own = [{"top_k": k} for k in (1, 2, 8, 9, 10, 49)]
    own += [{"top_p": p} for p in (0.01, 0.4, 0.75)] + [{"min_p": 0.5}, {"top_k": 40, "top_p": 0.6}]
    starts = [SlotStart(slot, 0, SamplingParams(**each), (0,)) for slot, each in enumerate(own)]
    draws = Draws.of(starts, 1100, reference_rows.start_rows, device)
    draws.positions[:] = position
    logits = (-0.02 * torch.arange(1100)).expand(len(own), -1).contiguous().to(device)
    check(logits, draws, **EVERY_STAGE)
    tokens, _ = sample(logits, draws.slots, draws.positions, draws.table, **EVERY_STAGE)
    assert tokens[:6].tolist() == [0, 1, 7, 8, 9, 48]


@pytest.mark.parametrize(("position", "token"), [(497387, 5324), (2673212, 3421), (2761402, 594)])
def test_a_cumulative_weight_that_only_equals_the_target_is_passed(position, token, device):
    """Seed 0's number at this position is token / 8192, to the bit, and 8192 tokens weigh 1 each."""
    starts = [SlotStart(slot, 0, SamplingParams(top_k=slot), (0,)) for slot in range(2)]  # ties: all are kept
    draws = Draws.of(starts, 8192, reference_rows.start_rows, device)
    draws.positions[:] = position
    tokens, _ = sample(torch.zeros(2, 8192, device=device), draws.slots, draws.positions, draws.table, **EVERY_STAGE)
    assert tokens.tolist() == [token, token]


def test_a_row_that_is_not_finite_is_told_and_harms_no_other(device):
    vocab = 4200
    poisons = [0.0, torch.nan, torch.inf, 0.0, -torch.inf]
    own = [{"temperature": 0.0}, {"temperature": 1.0}, {"temperature": 1.0, "top_k": 9, "top_p": 0.7}]
    starts = [SlotStart(slot, 0, SamplingParams(**own[slot // 5]), (0,)) for slot in range(15)]
    logits = any_logits(random.Random(1), 15, vocab)
    for row in range(15):
        logits[row, 4150] = poisons[row % 5]
    logits[4::5] = -torch.inf
    draws = Draws.of(starts, vocab, reference_rows.start_rows, device)
    check(logits.to(device), draws, **EVERY_STAGE)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_row_with_nothing_left_is_told_from_one_that_never_was_finite(temperature, device):
    """All tokens excluded; and the same with NaN, infinity, or nothing but −∞ from the model, excluded as well."""
    vocab = 60
    excluding = SamplingParams(temperature=temperature, min_tokens=1, stop_token_ids=frozenset(range(vocab)))
    starts = [SlotStart(slot, 0, excluding, (0,)) for slot in range(4)]
    starts.append(SlotStart(4, 0, SamplingParams(temperature=temperature), (0,)))
    logits = torch.zeros(5, vocab)
    logits[1, 5], logits[2, 6], logits[3] = torch.nan, torch.inf, -torch.inf
    draws = Draws.of(starts, vocab, reference_rows.start_rows, device)
    check(logits.to(device), draws, **EVERY_STAGE)
    _, status = sample(logits.to(device), draws.slots, draws.positions, draws.table, **EVERY_STAGE)
    bad = RowStatus.NON_FINITE
    assert status.tolist() == [RowStatus.NOTHING_LEFT, bad, bad, bad, RowStatus.SAMPLED]


def test_a_tiny_temperature_is_greedy(device):
    logits = torch.randn(4, 300, generator=torch.Generator().manual_seed(3)).to(device)
    starts = [SlotStart(slot, 0, SamplingParams(temperature=1e-30, seed=slot, top_p=0.9), (0,)) for slot in range(4)]
    draws = Draws.of(starts, 300, reference_rows.start_rows, device)
    tokens, _ = sample(logits, draws.slots, draws.positions, draws.table, **EVERY_STAGE)
    assert tokens.tolist() == logits.argmax(-1).tolist()


def test_new_samples_take_their_rows_and_drawn_tokens_are_counted(device):
    source, vocab, rows = random.Random(5), 5000, 12
    tables = [poisoned_table(rows, vocab, device) for _ in range(2)]
    for _ in range(2):
        starts = [any_start(source, slot, vocab) for slot in source.sample(range(rows), 7)]
        start_rows(tables[0], packed(starts, vocab, device))
        reference_rows.start_rows(tables[1], packed(starts, vocab, device))
        assert_same(*tables)
    start_rows(tables[0], packed([], vocab, device))
    assert_same(*tables)

    slots = torch.tensor([start.slot for start in starts] + [-1, -1], dtype=torch.int32, device=device)
    tokens = torch.tensor([source.randrange(vocab) for _ in slots], dtype=torch.int32, device=device)
    last = [torch.zeros(rows, dtype=torch.int32, device=device) for _ in range(2)]
    for any_penalised in (True, False, True):
        note_drawn(tokens, slots, last[0], tables[0], any_penalised=any_penalised)
        reference_rows.note_drawn(tokens, slots, last[1], tables[1], any_penalised=any_penalised)
        assert_same(*tables)
        assert last[0].tolist() == last[1].tolist()


def assert_same(found: SamplingTable, wanted: SamplingTable) -> None:
    for field in fields(SamplingTable):
        tensors = (getattr(table, field.name).view(torch.int32) for table in (found, wanted))
        assert torch.equal(*tensors), field.name


@triton.jit
def _uniform(words, numbers, count, BLOCK: tl.constexpr):
    row = tl.arange(0, BLOCK)
    inside = row < count
    low, high = tl.load(words + row * 4, mask=inside), tl.load(words + row * 4 + 1, mask=inside)
    index, position = tl.load(words + row * 4 + 2, mask=inside), tl.load(words + row * 4 + 3, mask=inside)
    tl.store(numbers + row, philox.uniform(low, high, index, position), mask=inside)


def test_random_numbers_are_the_references_bit_by_bit(device):
    source = random.Random(0)
    seeds = [0, 1, 2**31, 2**32 + 5, 2**63 - 1, 2**63, 2**64 - 1] + [source.getrandbits(64) for _ in range(300)]
    indices, positions = [source.randrange(128) for _ in seeds], [source.randrange(2**31) for _ in seeds]
    words = [[seed & 0xFFFFFFFF, seed >> 32, *rest] for seed, *rest in zip(seeds, indices, positions, strict=True)]
    numbers = torch.empty(len(seeds), dtype=torch.float64, device=device)
    _uniform[(1,)](torch.tensor(words).int().to(device), numbers, len(seeds), BLOCK=512)
    signed = torch.tensor([seed - (seed >> 63 << 64) for seed in seeds])
    assert numbers.tolist() == reference_uniform(signed, torch.tensor(indices), torch.tensor(positions)).tolist()
