"""The largest logit: where it lies, what equals it, and what cannot be compared."""

import pytest
import torch
from pagelet_engine.kernels.triton.argmax import argmax


def assert_argmax(logits):
    tokens, sound = argmax(logits)
    assert tokens.dtype == sound.dtype == torch.int32
    assert torch.equal(tokens.long(), logits.cpu().argmax(-1).to(logits.device))  # torch on a CPU: the first of equals
    assert torch.equal(sound, logits.max(-1).values.isfinite().int())


@pytest.mark.parametrize(
    ("rows", "vocab"),
    [
        (1, 1),
        (3, 199),
        (2, 2047),
        (2, 2048),
        (2, 2049),
        (1, 32003),
        (1, 526_500),
        pytest.param(513, 5, marks=pytest.mark.nightly),
    ],
)
def test_finds_the_largest(generator, device, rows, vocab):
    logits = torch.randn(rows, vocab, generator=generator).to(device)
    assert_argmax(logits)
    assert_argmax(-logits.abs())


def test_takes_the_first_of_equals_wherever_they_lie(generator, device):
    logits = torch.randint(3, (6, 7000), generator=generator).float().to(device)
    assert_argmax(logits)
    logits.fill_(-2.5)
    assert_argmax(logits)
    logits[:, 6000], logits[:, 500] = 7.0, 7.0
    assert_argmax(logits)


def test_zero_and_minus_zero_are_equal(device):
    logits = torch.tensor([[-1.0, -0.0, 0.0], [-1.0, 0.0, -0.0]], device=device)
    assert argmax(logits)[0].tolist() == [1, 1]


def test_nan_is_larger_than_infinity_and_makes_its_row_unsound(device):
    logits = torch.zeros(5, 5000, device=device)
    logits[0, 3000], logits[0, 10] = torch.nan, torch.inf
    logits[1, 4999], logits[1, 10] = -torch.nan, 1
    logits[2, 77] = torch.inf
    logits[3] = -torch.inf
    logits[4, 1:] = -torch.inf
    tokens, sound = argmax(logits)
    assert tokens.tolist() == [3000, 4999, 77, 0, 0]
    assert sound.tolist() == [0, 0, 0, 0, 1]


def test_the_first_nan_counts(device):
    logits = torch.zeros(1, 5000, device=device)
    logits[0, [4000, 70, 2100]] = torch.nan
    assert argmax(logits)[0].tolist() == [70]


def test_rows_may_lie_apart_with_anything_between(generator, device):
    wide = torch.full((3, 300), torch.nan).to(device)
    wide[:, :199] = torch.randn(3, 199, generator=generator).to(device)
    assert_argmax(wide[:, :199])
