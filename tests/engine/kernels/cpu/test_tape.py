"""Where results of a recorded pass lie: never on one another, while both are wanted."""

from hypothesis import given
from hypothesis import strategies as st
from pagelet_engine.kernels.cpu.tape import ALIGNMENT, Lifetime, place

LIFETIMES = st.lists(
    st.builds(
        lambda num_bytes, born, length: Lifetime(num_bytes, born, born + length),
        st.integers(1, 1000),
        st.integers(0, 20),
        st.integers(0, 8),
    ),
    max_size=30,
)


@given(LIFETIMES)
def test_no_two_results_that_live_at_once_overlap(lifetimes):
    offsets, size = place(lifetimes)
    for i, (own, at) in enumerate(zip(lifetimes, offsets, strict=True)):
        assert at % ALIGNMENT == 0
        assert at + own.num_bytes <= size
        for other, there in list(zip(lifetimes, offsets, strict=True))[:i]:
            apart = own.dies < other.born or other.dies < own.born
            assert apart or at + own.num_bytes <= there or there + other.num_bytes <= at


def test_a_chain_of_results_takes_two_places():
    _, size = place([Lifetime(64, i, i + 1) for i in range(100)])
    assert size == 128
