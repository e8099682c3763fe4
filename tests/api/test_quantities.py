"""Quantities and durations: what Kubernetes understands, we understand, and nothing else."""

import re
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pagelet_api.quantities import (
    DURATION_PATTERN,
    MEMORY_PATTERN,
    QUANTITY_PATTERN,
    Duration,
    Memory,
    QuantityError,
    parse_bytes,
    parse_duration,
    parse_quantity,
)

NEARLY_QUANTITIES = st.text("0123456789.eE+-kmuMGTPKi", max_size=8)
NEARLY_DURATIONS = st.text("0123456789hms.- ", max_size=8)


def _value(parse, text):
    try:
        return parse(text)
    except QuantityError:
        return None


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2", 2),
        ("500m", Fraction(1, 2)),
        ("1.5Gi", 1610612736),
        (".5k", 500),
        ("3.", 3),
        ("1e3", 1000),
        ("1E", 10**18),
        ("25e-1", Fraction(5, 2)),
        ("7n", Fraction(7, 10**9)),
    ],
)
def test_quantities_have_the_values_that_kubernetes_gives_them(text, value):
    assert parse_quantity(text) == value


@pytest.mark.parametrize(("suffix", "power"), [("", 0), ("Ki", 1), ("Mi", 2), ("Gi", 3), ("Ti", 4), ("Pi", 5)])
@given(count=st.integers(1, 8000))
def test_binary_suffixes_are_powers_of_1024(suffix, power, count):
    assert parse_bytes(f"{count}{suffix}") == count * 1024**power


@pytest.mark.parametrize(("suffix", "power"), [("k", 1), ("M", 2), ("G", 3), ("T", 4), ("P", 5)])
@given(count=st.integers(1, 8000))
def test_decimal_suffixes_are_powers_of_1000(suffix, power, count):
    assert parse_bytes(f"{count}{suffix}") == count * 1000**power


def test_part_of_a_byte_is_a_byte():
    assert parse_bytes("1.0001k") == 1001


@given(NEARLY_QUANTITIES)
def test_the_patterns_of_the_crd_accept_what_the_parsers_accept(text):
    assert (_value(parse_quantity, text) is not None) == bool(re.search(QUANTITY_PATTERN, text))
    if _value(parse_bytes, text) is not None:
        assert re.search(MEMORY_PATTERN, text)


@given(NEARLY_QUANTITIES)
def test_memory_that_the_crd_accepts_is_refused_here_only_when_it_is_none_or_too_much(text):
    if re.search(MEMORY_PATTERN, text) and _value(parse_bytes, text) is None:
        assert not 1 <= parse_quantity(text) < 2**63


@given(st.integers(0, 999_999), st.integers(0, 999_999), st.integers(0, 999_999))
def test_a_duration_is_the_sum_of_its_parts(hours, minutes, seconds):
    total = hours * 3600 + minutes * 60 + seconds
    assert _value(parse_duration, f"{hours}h{minutes}m{seconds}s") == (total or None)


@given(NEARLY_DURATIONS)
def test_durations_are_refused_here_and_accepted_by_the_crd_only_when_they_are_zero(text):
    if re.search(DURATION_PATTERN, text) and _value(parse_duration, text) is None:
        assert not text.strip("0hms")
    if _value(parse_duration, text) is not None:
        assert re.search(DURATION_PATTERN, text)


@pytest.mark.parametrize("text", ["", "4 Gi", "4gi", "Gi", "-1Gi", "0", "1e-9", "9Ei", "1" * 40, "100m", "٤Gi"])
def test_memory_that_makes_no_sense_is_refused_with_what_was_found(text):
    with pytest.raises(QuantityError, match=re.escape(repr(text)[:50])):
        parse_bytes(text)


def test_the_usual_slip_of_thousandths_for_millions_is_explained():
    with pytest.raises(QuantityError, match="m means a thousandth"):
        parse_bytes("512m")


@pytest.mark.parametrize("text", ["", "5", "5min", "1m1h", "1.5h", "0s", "-5s", "5d", "1" * 7 + "s"])
def test_durations_that_make_no_sense_are_refused_with_an_example(text):
    with pytest.raises(QuantityError, match="such as 90s"):
        parse_duration(text)


def test_text_is_kept_as_written_and_knows_its_value():
    assert (Memory("1024Mi"), Memory("1024Mi").num_bytes) == ("1024Mi", 2**30)
    assert (Duration("90m"), Duration("90m").seconds) == ("90m", 5400)
    assert Memory("1024Mi").num_bytes == Memory("1Gi").num_bytes
