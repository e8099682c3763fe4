"""One token to be drawn."""

from dataclasses import dataclass

from pagelet_engine.worker.local.slots import Slots


@dataclass(frozen=True, slots=True)
class Draw:
    """One row of logits, from which one token is drawn."""

    slot: int
    position: int
    """The drawn token's place in its sequence, prompt included."""

    def is_edited(self, slots: Slots) -> bool:
        seat = slots.seats[self.slot]
        return seat.sampling.has_penalties or seat.bias is not None or self.is_too_early(slots)

    def is_too_early(self, slots: Slots) -> bool:
        """Whether a token that ends the sample may not be drawn yet."""
        seat = slots.seats[self.slot]
        return self.position - len(seat.prompt) < seat.sampling.min_tokens

    def wants_logits(self, slots: Slots) -> bool:
        """Whether the likeliest token is not all that is asked."""
        seat = slots.seats[self.slot]
        return self.is_random(slots) or seat.sampling.logprobs is not None or self.is_edited(slots)

    def is_random(self, slots: Slots) -> bool:
        return slots.seats[self.slot].sampling.temperature > 0
