"""A step while it is being decided."""

from pagelet_engine.core.sample import Seat
from pagelet_engine.core.step import BlockCopy, Segment, SlotStart, Step, TableUpdate


class StepDraft:
    """Collects what a step will hold, and notes in each seat what the step will have changed."""

    __slots__ = ("_copies", "_segments", "_starts", "budget", "number", "seats")

    def __init__(self, number: int, budget: int) -> None:
        self.number = number
        self.budget = budget
        """Tokens that may still be added."""
        self.seats: list[Seat] = []
        """One a segment."""
        self._starts: list[SlotStart] = []
        self._copies: list[BlockCopy] = []
        self._segments: list[Segment] = []

    def start(self, seat: Seat, copies: list[BlockCopy]) -> None:
        """The seat's slot begins anew, after these copies."""
        sample = seat.sample
        request = sample.request.request
        self._copies += copies
        self._starts.append(
            SlotStart(seat.slot, sample.index, request.sampling, request.prompt, sample.output, request.adapter_slot)
        )

    def append(self, seat: Seat, num_tokens: int, updates: tuple[TableUpdate, ...] = ()) -> None:
        """Compute the seat's next `num_tokens` tokens, for which its tables have room."""
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

    def finish(self) -> Step:
        return Step(self.number, tuple(self._starts), tuple(self._copies), tuple(self._segments))
