"""Contiguous areas of token slots from a buddy allocator (Knowlton, CACM 1965), as the PagedAttention paper gives Orca.

An area's size is a power of two, and its start a multiple of its size; two free halves of one area are one again.
"""


class BuddyAllocator:
    """`num_slots` slots, 0 … num_slots - 1: as many areas as its binary digits that are 1, the largest first."""

    def __init__(self, num_slots: int) -> None:
        self.num_slots = num_slots
        self.slots_in_use = 0
        """Of areas given away, to their whole size."""
        self._free: dict[int, set[int]] = {1 << order: set() for order in range(num_slots.bit_length())}
        self._roots: dict[int, int] = {}  # start → size: these have no buddy
        start = 0
        for size in reversed(self._free):
            if num_slots & size:
                self._free[size].add(start)
                self._roots[start] = size
                start += size

    def take(self, num_slots: int) -> tuple[int, int] | None:
        """An area of at least so many slots as (start, size); None if none is free."""
        wanted = power_of_two(num_slots)
        size = wanted
        while not self._free.get(size):
            if size not in self._free:
                return None
            size *= 2
        start = min(self._free[size])  # the lowest: large areas stay whole at the end
        self._free[size].remove(start)
        while size > wanted:
            size //= 2
            self._free[size].add(start + size)
        self.slots_in_use += size
        return start, size

    def release(self, area: tuple[int, int]) -> None:
        start, size = area
        self.slots_in_use -= size
        while self._roots.get(start) != size and (start ^ size) in self._free[size]:
            self._free[size].remove(start ^ size)
            start &= ~size
            size *= 2
        self._free[size].add(start)

    def free_areas(self) -> list[tuple[int, int]]:
        """(start, size), by start."""
        return sorted((start, size) for size, starts in self._free.items() for start in starts)


def power_of_two(number: int) -> int:
    """The least one that is not smaller."""
    return 1 << (number - 1).bit_length()
