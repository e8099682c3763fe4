"""Who says how many engines there are."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pagelet_operator.engine_count import EngineCount, Origin, engine_count

counts = st.builds(EngineCount, st.integers(0, 1000), st.sampled_from(Origin))


def told(*steps: tuple[int, bool]) -> list[int]:
    """The numbers wanted after each (spec.replicas, owned), one after the other."""
    before, numbers = None, []
    for replicas, owned in steps:
        before = engine_count(replicas, owned, before)
        numbers.append(before.number)
    return numbers


@pytest.mark.parametrize(
    ("steps", "wanted"),
    [
        pytest.param([(1, False)], [1], id="nobody ever said anything"),
        pytest.param([(3, True), (1, False)], [3, 3], id="an author lets go"),
        pytest.param([(3, True), (1, False), (1, False)], [3, 3, 3], id="and it stays so"),
        pytest.param([(3, True), (1, False), (2, False), (1, False)], [3, 3, 2, 1], id="until somebody scales"),
        pytest.param([(1, False), (4, False), (1, False)], [1, 4, 1], id="an autoscaler up and down"),
        pytest.param([(3, True), (1, False), (2, True)], [3, 3, 2], id="another author"),
        pytest.param([(3, True), (0, False)], [3, 0], id="scaled to zero"),
        pytest.param([(0, True), (1, False)], [0, 0], id="an author lets go of zero"),
    ],
)
def test_a_default_that_nobody_asked_for_stops_no_engine(steps: list[tuple[int, bool]], wanted: list[int]) -> None:
    assert told(*steps) == wanted


@given(counts)
def test_what_is_remembered_is_read_back(count: EngineCount) -> None:
    assert EngineCount.parse(str(count)) == count


@given(st.integers(0, 1000), st.booleans(), counts | st.none())
def test_asked_again_nothing_changes(replicas: int, owned: bool, before: EngineCount | None) -> None:
    once = engine_count(replicas, owned, before)
    assert engine_count(replicas, owned, once) == once


@pytest.mark.parametrize("text", ["", "3", "x owned", "3 stolen", "-1 owned"])
def test_what_somebody_else_wrote_is_not_believed(text: str) -> None:
    assert EngineCount.parse(text) is None
