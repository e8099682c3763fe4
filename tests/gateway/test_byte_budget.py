"""Memory that requests share."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pagelet_gateway.byte_budget import ByteBudget, Hold, OverBudget


def test_what_is_beyond_the_limit_is_refused_with_the_numbers() -> None:
    budget = ByteBudget(100)
    with budget.hold("a") as held:
        held.grow(60)
        with pytest.raises(OverBudget, match="60 of 100"):
            held.grow(41)
        held.grow(40)
    assert budget.held_bytes == 0


def test_one_client_holds_no_more_than_its_part() -> None:
    budget = ByteBudget(100, 50)
    with budget.hold("a") as first, budget.hold("a") as second, budget.hold("b") as other:
        first.grow(30)
        with pytest.raises(OverBudget, match="30 bytes, at most 50"):
            second.grow(21)
        other.grow(50)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.lists(st.integers(0, 60), max_size=4)), max_size=12))
def test_never_more_is_held_than_allowed_and_all_is_given_back(requests: list[tuple[str, list[int]]]) -> None:
    budget = ByteBudget(100, 70)
    holds: list[tuple[str, Hold]] = []

    def nested(left: list[tuple[str, list[int]]]) -> None:
        if not left:
            return
        client, sizes = left[0]
        with budget.hold(client) as held:
            holds.append((client, held))
            for size in sizes:
                try:
                    held.grow(size)
                except OverBudget:
                    continue
            assert budget.held_bytes == sum(each.num_bytes for _, each in holds) <= 100
            assert sum(each.num_bytes for name, each in holds if name == client) <= 70
            nested(left[1:])
            holds.pop()

    nested(requests)
    assert budget.held_bytes == 0
