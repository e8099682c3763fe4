"""The rows of the worker's state: which are free, and when one may be given to another sample."""


class Slots:
    """`count` slots. A slot is free again only when the last step that names it has ended."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._free = list(range(count - 1, -1, -1))  # a stack: low numbers stay in use, so the worker's batch is dense
        self._in_flight: dict[int, list[int]] = {}  # step → its slots
        self._last_ended = 0

    def __len__(self) -> int:
        """How many are free."""
        return len(self._free)

    @property
    def will_have_one(self) -> bool:
        """Whether one is free, or is once the steps in flight have ended."""
        return bool(self._free or self._in_flight)

    def take(self) -> int:
        return self._free.pop()

    def release(self, slot: int, last_step: int) -> None:
        if last_step > self._last_ended:
            self._in_flight.setdefault(last_step, []).append(slot)
        else:
            self._free.append(slot)

    def end_step(self, step: int) -> None:
        self._last_ended = step
        self._free.extend(self._in_flight.pop(step, ()))

    def check(self, used: list[int]) -> None:
        """Prove that every slot is exactly one of free, in flight and `used`. Raises AssertionError."""
        flying = [slot for slots in self._in_flight.values() for slot in slots]
        places = sorted([*self._free, *flying, *used])
        assert places == list(range(self._count)), (
            f"every slot must be exactly one of free, in flight and in use; found {places}"
        )
