"""The sampler against a slow, obvious oracle of one row at a time; its distribution; its independence of the batch."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pagelet_engine.core.sampling import SamplingParams
from pagelet_engine.core.step import SlotStart
from pagelet_engine.kernels.reference.philox import uniform
from pagelet_engine.kernels.row_status import RowStatus
from pagelet_engine.worker.local.draw import Draw
from pagelet_engine.worker.local.sampler import greedy, sample
from pagelet_engine.worker.local.sampling_ops import SamplingOps
from pagelet_engine.worker.local.slots import Slots
from pagelet_engine.worker.results import Drawn

from tests.engine.worker.local.every_ops import every_ops

Seated = Callable[..., Slots]
VOCAB = 13


def oracle(logits: Sequence[float], start: SlotStart) -> int:
    """The token after `start`'s prompt and output, stage by stage as design.md orders them."""
    p, x = start.sampling, np.array(logits, np.float32)
    for token in {*start.prompt, *start.output}:
        penalty = np.float32(p.repetition_penalty)
        x[token] = x[token] / penalty if x[token] > 0 else x[token] * penalty
    for token in set(start.output):
        x[token] -= np.float32(p.frequency_penalty) * np.float32(start.output.count(token))
        x[token] -= np.float32(p.presence_penalty)
    for token, bias in p.logit_bias.items():
        x[token] += np.float32(bias)
    if len(start.output) < p.min_tokens:
        x[list(p.stop_token_ids)] = -np.inf
    if p.temperature == 0:
        return int(x.argmax())

    weights = np.exp((x - x.max()) / np.float32(p.temperature))
    if 0 < p.top_k < len(x):
        weights[weights < np.sort(weights)[-p.top_k]] = 0
    if p.top_p < 1:
        descending = np.sort(weights)[::-1].astype(float)
        reached = descending.cumsum() >= float(np.float32(p.top_p)) * descending.sum()
        weights[weights < descending[reached.argmax()]] = 0
    weights[weights < np.float32(p.min_p)] = 0
    position = len(start.prompt) + len(start.output)
    u = float(uniform(*(torch.tensor([number]) for number in (p.seed, start.sample_index, position))))
    sums = weights.astype(float).cumsum()
    return int((sums > u * sums[-1]).argmax())


def draw_of(start: SlotStart) -> Draw:
    return Draw(start.slot, len(start.prompt) + len(start.output))


def sampled(logits: torch.Tensor, draws: Sequence[Draw], slots: Slots, ops: SamplingOps) -> Drawn:
    before = logits.clone()
    found = sample(logits, greedy(logits), draws, slots, ops)
    assert torch.equal(logits, before) or not before.isfinite().all(), "the model's logits are left as they are"
    return found


def drawn(logits: torch.Tensor, starts: Sequence[SlotStart], slots: Slots, ops: SamplingOps) -> list[int]:
    return sampled(logits, [draw_of(start) for start in starts], slots, ops).tokens.tolist()


TOKENS = st.integers(0, VOCAB - 1)
HALVES = st.integers(-8, 8).map(lambda n: n / 2)
PARAMETERS = st.builds(
    SamplingParams,
    temperature=st.sampled_from([0.0, 0.0, 0.3, 1.0, 1.7]),
    top_k=st.sampled_from([0, 0, 1, 2, 5, VOCAB, 100]),
    top_p=st.sampled_from([1.0, 1.0, 0.0, 0.2, 0.5, 0.9]),
    min_p=st.sampled_from([0.0, 0.0, 0.1, 0.6, 1.0]),
    repetition_penalty=st.sampled_from([1.0, 1.0, 0.5, 1.3]),
    presence_penalty=st.sampled_from([0.0, 0.0, -1.0, 0.7]),
    frequency_penalty=st.sampled_from([0.0, 0.0, -0.4, 0.6]),
    logit_bias=st.dictionaries(TOKENS, HALVES, max_size=3),
    min_tokens=st.sampled_from([0, 0, 2]),
    stop_token_ids=st.frozensets(TOKENS, max_size=3),
    seed=st.integers(0, 2**63 - 1),
)
ROWS = st.tuples(
    st.lists(HALVES, min_size=VOCAB, max_size=VOCAB),
    PARAMETERS,
    st.lists(TOKENS, min_size=1, max_size=4).map(tuple),
    st.lists(TOKENS, max_size=4).map(tuple),
)


def starts_of(rows) -> list[SlotStart]:
    return [
        SlotStart(slot, slot % 3, sampling, prompt, output) for slot, (_, sampling, prompt, output) in enumerate(rows)
    ]


@every_ops
@settings(max_examples=400, deadline=None)
@given(st.lists(ROWS, min_size=1, max_size=6))
def test_every_row_of_any_batch_is_the_oracles(ops, rows):
    starts = starts_of(rows)
    slots = Slots(len(rows), VOCAB, 1, 1, torch.device("cpu"))
    for start in starts:
        slots.start(start)
    logits = torch.tensor([row[0] for row in rows])
    before = logits.clone()
    assert drawn(logits, starts, slots, ops) == [oracle(row[0], start) for row, start in zip(rows, starts, strict=True)]
    torch.testing.assert_close(logits, before)  # log probabilities are of the raw ones


@every_ops
@settings(max_examples=50, deadline=None)
@given(st.lists(ROWS, min_size=2, max_size=6), st.randoms())
def test_a_draw_depends_neither_on_the_batch_nor_on_its_order(ops, rows, source):
    starts = starts_of(rows)
    slots = Slots(len(rows), VOCAB, 1, 1, torch.device("cpu"))
    for start in starts:
        slots.start(start)
    logits = torch.tensor([row[0] for row in rows])
    alone = [drawn(logits[row : row + 1], [start], slots, ops)[0] for row, start in enumerate(starts)]
    order = source.sample(range(len(rows)), len(rows))
    assert drawn(logits[order], [starts[row] for row in order], slots, ops) == [alone[row] for row in order]


@every_ops
def test_greedy_takes_the_lowest_of_equal_tokens(ops, seated: Seated):
    start = SlotStart(0, 0, SamplingParams(temperature=0), (1,))
    logits = torch.tensor([[0.0, 3.0, 1.0, 3.0, 3.0]])
    assert drawn(logits, [start], seated(5, start), ops) == [1]


@every_ops
def test_counts_grow_with_every_drawn_token_and_start_anew_with_the_slot(ops, seated: Seated):
    sampling = SamplingParams(temperature=0, frequency_penalty=1.0)
    start = SlotStart(0, 0, sampling, (4,))
    slots = seated(5, start)
    logits = torch.tensor([[2.5, 2.0, 0.0, 0.0, 0.0]])
    found = []
    for position in range(1, 6):
        tokens = sampled(logits, [Draw(0, position)], slots, ops).tokens
        slots.note_drawn([0], tokens)
        found += tokens.tolist()
    assert found == [0, 1, 0, 1, 0]
    slots.start(start)
    assert drawn(logits, [start], slots, ops) == [0]


@pytest.mark.parametrize(
    "sampling",
    [
        SamplingParams(seed=1),
        SamplingParams(seed=2, temperature=0.6),
        SamplingParams(seed=3, top_k=4),
        SamplingParams(seed=4, top_p=0.7),
        SamplingParams(seed=5, min_p=0.15, temperature=1.4),
        SamplingParams(seed=6, top_k=6, top_p=0.8, min_p=0.05, temperature=1.2),
    ],
)
@every_ops
def test_frequencies_are_the_probabilities(ops, sampling, seated: Seated):
    """Chi-square over 20,000 draws; 99.9 % of such sums are below 32.9 even with 12 degrees of freedom."""
    n = 20_000
    start = SlotStart(0, 0, sampling, (0,))
    row = torch.linspace(-2, 1.5, VOCAB)[torch.randperm(VOCAB, generator=torch.Generator().manual_seed(0))]
    tokens = sampled(row.expand(n, -1), [Draw(0, position) for position in range(n)], seated(VOCAB, start), ops).tokens

    probabilities = (row.double() / sampling.temperature).softmax(-1)
    order = probabilities.argsort(descending=True)
    kept = torch.ones(VOCAB, dtype=torch.bool)
    if sampling.top_k:
        kept[order[sampling.top_k :]] = False
    if sampling.top_p < 1:
        after_k = probabilities * kept / (probabilities * kept).sum()
        kept[order[1:][after_k[order].cumsum(0)[:-1] >= sampling.top_p]] = False
    kept &= probabilities >= sampling.min_p * probabilities.max()
    expected = (probabilities * kept / (probabilities * kept).sum() * n)[kept]
    found = torch.bincount(tokens, minlength=VOCAB)
    assert found[~kept].sum() == 0
    assert 1 < len(expected) <= VOCAB
    assert float(((found[kept] - expected) ** 2 / expected).sum()) < 32.9


@every_ops
@pytest.mark.parametrize("top_k", [0, 2000])
def test_a_nucleus_wider_than_the_fetched_candidates_is_exact(ops, top_k, seated: Seated):
    vocab = 5000
    logits = torch.randn(40, vocab, generator=torch.Generator().manual_seed(0)) / 10
    starts = [SlotStart(row, 0, SamplingParams(seed=row, top_p=0.1 + row / 50, top_k=top_k), (0,)) for row in range(40)]
    wanted = [oracle(row.tolist(), start) for row, start in zip(logits, starts, strict=True)]
    assert drawn(logits, starts, seated(vocab, *starts), ops) == wanted


@every_ops
def test_a_batch_too_wide_to_be_drawn_at_once_gets_the_same_tokens(ops, seated: Seated):
    rows, vocab = 40, 60_000
    logits = torch.randn(rows, vocab, generator=torch.Generator().manual_seed(0))
    starts = [SlotStart(row, 0, SamplingParams(seed=row, temperature=row % 3), (0,)) for row in range(rows)]
    slots = seated(vocab, *starts)
    alone = [drawn(logits[row : row + 1], [start], slots, ops)[0] for row, start in enumerate(starts)]
    assert drawn(logits, starts, slots, ops) == alone


@every_ops
@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("poison", [float("nan"), float("inf")])
def test_a_row_that_is_not_finite_is_told_and_harms_no_other(ops, temperature, poison, seated: Seated):
    starts = [SlotStart(slot, 0, SamplingParams(temperature=temperature), (0,)) for slot in range(3)]
    logits = torch.randn(3, VOCAB, generator=torch.Generator().manual_seed(0))
    healthy = sampled(logits, [draw_of(start) for start in starts], seated(VOCAB, *starts), ops)
    logits[1, 5] = poison
    found = sampled(logits, [draw_of(start) for start in starts], seated(VOCAB, *starts), ops)
    assert found.status.tolist() == [RowStatus.SAMPLED, RowStatus.NON_FINITE, RowStatus.SAMPLED]
    assert found.tokens[[0, 2]].tolist() == healthy.tokens[[0, 2]].tolist()


@every_ops
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_row_with_nothing_left_is_told_from_one_that_never_was_finite(ops, temperature, seated: Seated):
    """All tokens excluded; and the same with NaN, infinity, or nothing but −∞ from the model, excluded as well."""
    excluding = SamplingParams(temperature=temperature, min_tokens=1, stop_token_ids=frozenset(range(VOCAB)))
    starts = [SlotStart(slot, 0, excluding, (0,)) for slot in range(4)]
    logits = torch.zeros(4, VOCAB)
    logits[1, 5], logits[2, 6], logits[3] = torch.nan, torch.inf, -torch.inf
    found = sampled(logits, [draw_of(start) for start in starts], seated(VOCAB, *starts), ops)
    assert found.status.tolist() == [RowStatus.NOTHING_LEFT, *[RowStatus.NON_FINITE] * 3]


@every_ops
def test_a_tiny_temperature_is_greedy(ops, seated: Seated):
    logits = torch.randn(20, VOCAB, generator=torch.Generator().manual_seed(3))
    starts = [SlotStart(row, 0, SamplingParams(temperature=1e-30, seed=row), (0,)) for row in range(20)]
    assert drawn(logits, starts, seated(VOCAB, *starts), ops) == logits.argmax(-1).tolist()
