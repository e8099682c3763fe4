from hypothesis import given
from hypothesis import strategies as st
from simulator.baselines.buddy import BuddyAllocator, power_of_two


@given(st.integers(1, 300), st.lists(st.tuples(st.booleans(), st.integers(1, 64)), max_size=60))
def test_areas_never_overlap_and_all_that_is_given_back_is_whole_again(
    num_slots: int, calls: list[tuple[bool, int]]
) -> None:
    areas = BuddyAllocator(num_slots)
    whole = areas.free_areas()
    held: list[tuple[int, int]] = []
    for takes, number in calls:
        if takes and (area := areas.take(number)):
            held.append(area)
            assert area[1] == power_of_two(number)
            assert area[0] % area[1] == 0
        elif not takes and held:
            areas.release(held.pop(number % len(held)))
        covered = sorted([*held, *areas.free_areas()])
        assert [start for start, _ in covered] == [0, *(start + size for start, size in covered)][:-1]
        assert sum(size for _, size in covered) == num_slots
        assert areas.slots_in_use == sum(size for _, size in held)
    for area in held:
        areas.release(area)
    assert areas.free_areas() == whole


def test_refuses_what_is_free_only_in_pieces() -> None:
    areas = BuddyAllocator(8)
    first, second = areas.take(4), areas.take(2)
    assert (first, second) == ((0, 4), (4, 2))
    assert first
    areas.release(first)
    assert areas.take(6) is None  # 6 slots are free, in two pieces


def test_a_pool_of_the_papers_size_holds_seven_longest_requests() -> None:
    areas = BuddyAllocator(15_728)
    assert [bool(areas.take(2048)) for _ in range(8)] == [True] * 7 + [False]
