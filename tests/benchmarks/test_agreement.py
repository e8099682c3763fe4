"""Texts beside the reference's tokens, with a decoder that spells them."""

from collections.abc import Sequence

import pytest
from cpu.agreement import Reference, agreeing_tokens, gap

WORDS = {1: "the", 2: " cat", 3: " sat", 4: " dog", 5: "", 6: "\ufffd"}


def decode(tokens: Sequence[int]) -> str:
    return "".join(WORDS[token] for token in tokens)


def test_the_same_text_agrees_to_the_end_of_sequence() -> None:
    assert agreeing_tokens((1, 2, 3, 5), "the cat sat", decode) == 4


def test_counts_tokens_before_the_first_difference() -> None:
    assert agreeing_tokens((1, 2, 3), "the cat ran", decode) == 2
    assert agreeing_tokens((1, 2, 3), "a cat", decode) == 0


def test_an_answer_that_ends_early_disagrees_about_its_end() -> None:
    assert agreeing_tokens((1, 2, 3), "the cat", decode) == 2


def test_an_answer_that_goes_on_disagrees_about_its_end() -> None:
    assert agreeing_tokens((1, 2, 5), "the cat sat", decode) == 2


def test_half_a_character_is_not_a_difference() -> None:
    assert agreeing_tokens((1, 6, 2), "the\u00e9 dog", decode) == 2


def test_the_gap_is_to_the_token_with_which_the_text_goes_on() -> None:
    likeliest = (((1, 9.0),), ((2, 8.0), (3, 7.9), (4, 7.5), (5, 7.0)))
    reference = Reference((), (1, 2), likeliest)
    assert gap(reference, 1, "the dog", decode) == pytest.approx(0.5)
    assert gap(reference, 1, "the", decode) == pytest.approx(1.0)
    assert gap(reference, 1, "theory", decode) is None
