"""Philox against the known answers of its authors and against whole-number arithmetic."""

import random

import pytest
import torch
from pagelet_engine.kernels.reference.philox import philox4x32, uniform

# Random123, kat_vectors: philox4x32 10.
KNOWN = [
    ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
]


def words(text: str) -> list[int]:
    return [int(word, 16) for word in text.split()]


@pytest.mark.parametrize(("counter", "key", "answer"), KNOWN)
def test_gives_the_known_answers(counter, key, answer):
    assert philox4x32(torch.tensor(words(counter)), torch.tensor(words(key))).tolist() == words(answer)


def oracle(counter: list[int], key: list[int]) -> list[int]:
    c, k = list(counter), list(key)
    for _ in range(10):
        first, second = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [second >> 32 ^ c[1] ^ k[0], second % 2**32, first >> 32 ^ c[3] ^ k[1], first % 2**32]
        k = [(k[0] + 0x9E3779B9) % 2**32, (k[1] + 0xBB67AE85) % 2**32]
    return c


def test_equals_whole_number_arithmetic_for_many_at_once():
    source = random.Random(0)
    counters = [[source.getrandbits(32) for _ in range(4)] for _ in range(500)]
    keys = [[source.getrandbits(32) for _ in range(2)] for _ in range(500)]
    found = philox4x32(torch.tensor(counters), torch.tensor(keys)).tolist()
    assert found == [oracle(counter, key) for counter, key in zip(counters, keys, strict=True)]


@pytest.mark.parametrize("seed", [0, 1, 2**31, 2**32 + 5, 2**63 - 1, 2**63, 2**64 - 1])
def test_uniform_uses_all_64_bits_of_the_seed_and_the_documented_counter(seed):
    signed = seed - 2**64 if seed >= 2**63 else seed
    found = uniform(torch.tensor([signed]), torch.tensor([3]), torch.tensor([70]))
    assert found.tolist() == [oracle([70, 0, 3, 0], [seed % 2**32, seed >> 32])[0] / 2**32]


def test_uniform_is_uniform_over_positions_samples_and_seeds():
    """Chi-square over 100 bins of 100,000 numbers: 99 degrees of freedom, 99.9 % below 149."""
    n = 100_000
    ones, steps = torch.ones(n, dtype=torch.int64), torch.arange(n)
    for seed, sample, position in [(ones, ones, steps), (ones, steps, ones), (steps, ones, ones)]:
        numbers = uniform(seed, sample, position)
        assert 0 <= float(numbers.min()) <= float(numbers.max()) < 1
        found = torch.histc(numbers, 100, 0, 1)
        assert float(((found - n / 100) ** 2 / (n / 100)).sum()) < 149
