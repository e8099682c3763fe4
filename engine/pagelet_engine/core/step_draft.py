"""A step while it is being decided."""

from pagelet_engine.core.sample import Seat
from pagelet_engine.core.step import BlockCopy, Segment, SlotStart, Step, TableUpdate


class StepDraft:
    """Collects what a step will hold, and notes in each seat what the step will have changed."""

    __slots__ = ("_copies", "_segments", "_starts", "budget", "num_moved", "number", "promised", "seats")

    def __init__(self, number: int, budget: int) -> None:
        self.number = number
        self.budget = budget
        """Tokens that may still be added."""
        self.seats: list[Seat] = []
        """One a segment."""
        self.num_moved = 0
        """Blocks that are copied from one tier to the other."""
        self.promised = 0
        """Blocks that somebody waits for, of those that steps in flight will give back."""
        self._starts: list[SlotStart] = []
        self._copies: list[BlockCopy] = []
        self._segments: list[Segment] = []

    @property
    def is_empty(self) -> bool:
        return not self.seats and not self._copies

    def copy(self, copies: list[BlockCopy]) -> None:
        """Copy these blocks: within the device before the step's segments, between tiers beside them."""
        self._copies += copies
        self.num_moved += sum(copy.is_move for copy in copies)

    def append(self, seat: Seat, num_tokens: int) -> None:
        """Compute the seat's next `num_tokens` tokens, for which its tables have room."""
        updates: tuple[TableUpdate, ...] = ()
        if seat.num_told < len(seat.tables[0]):
            updates = self._tell_tables(seat)
        sample = seat.sample
        start = seat.scheduled
        end = start + num_tokens
        draws = end == seat.length
        # The worker knows the last token it drew here, perhaps before we do.
        known_there = num_tokens == 1 and draws and start >= seat.seated_length
        tokens = () if known_there else tuple(sample.tokens[start:end])
        self._segments.append(Segment(sample.number, seat.slot, start, num_tokens, tokens, updates, draws))
        self.seats.append(seat)
        self.budget -= num_tokens
        seat.scheduled = end
        seat.length += draws
        seat.last_step = self.number
        if start < sample.prompt_length <= end:
            seat.prompt_step = self.number

    def _tell_tables(self, seat: Seat) -> tuple[TableUpdate, ...]:
        """What the worker does not know yet of the seat's tables; of a new seat, that it begins."""
        if not seat.num_told:
            sample, request = seat.sample, seat.sample.request.request
            self._starts.append(
                SlotStart(
                    seat.slot, sample.index, request.sampling, request.prompt, sample.output, request.adapter_slot
                )
            )
        first, seat.num_told = seat.num_told, len(seat.tables[0])
        return tuple(
            TableUpdate(group, index, table[index])
            for group, table in enumerate(seat.tables)
            for index in range(first, len(table))
        )

    def finish(self) -> Step:
        return Step(self.number, tuple(self._starts), tuple(self._copies), tuple(self._segments))
