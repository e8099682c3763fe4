"""Which engine gets a request."""

from hypothesis import given
from hypothesis import strategies as st
from pagelet_gateway.routing import Candidate, least_loaded

candidates = st.lists(
    st.builds(
        Candidate,
        address=st.text("abcdef", min_size=1, max_size=3),
        mine=st.integers(0, 5),
        others=st.integers(0, 5),
        listed=st.booleans(),
        last_used=st.integers(0, 9),
    ),
    unique_by=lambda candidate: candidate.address,
    max_size=6,
)


def engine(address: str, mine: int = 0, others: int = 0, listed: bool = True, last_used: int = 0) -> Candidate:
    return Candidate(address, mine, others, listed, last_used)


def test_counts_what_other_gateways_sent_too() -> None:
    assert least_loaded([engine("a", mine=1, others=4), engine("b", mine=3)]) == "b"


def test_equals_take_turns() -> None:
    assert least_loaded([engine("a", last_used=2), engine("b", last_used=1)]) == "b"


def test_an_unlisted_engine_is_the_last_resort() -> None:
    assert least_loaded([engine("a", listed=False), engine("b", mine=9)]) == "b"
    assert least_loaded([engine("a", listed=False)]) == "a"


@given(candidates, st.sets(st.text("abcdef", min_size=1, max_size=3)))
def test_nobody_is_tried_twice_and_nobody_less_loaded_is_passed_over(engines: list[Candidate], tried: set[str]) -> None:
    chosen = least_loaded(engines, tried)
    left = {candidate.address: candidate for candidate in engines if candidate.address not in tried}
    if chosen is None:
        assert not left
        return
    equals = [candidate for candidate in left.values() if candidate.listed == left[chosen].listed]
    load = left[chosen].mine + left[chosen].others
    assert load == min(candidate.mine + candidate.others for candidate in equals)
    assert left[chosen].listed or not any(candidate.listed for candidate in left.values())
