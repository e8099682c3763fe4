"""How fast requests have had their turn lately: when a newcomer's would come, and when a refused one should ask again.

Measured, never configured. Knows times and numbers; refuses to know who waits, and why.
"""

MEMORY_S = 30.0
"""What was longer ago hardly counts."""
ENOUGH = 8
"""Requests whose turns must have come before their pace is believed."""
DOUBT = 2.0
"""Turns come in bursts: a wait may be shorter than the pace says by this factor."""
MAX_RETRY_S = 60.0
QUEUE_SHARE = 1 / 4
"""Of the queue: whoever is refused is to come back when this much of it has gone."""


class Pace:
    """Turns that have come, as a rate that forgets."""

    def __init__(self) -> None:
        self._turns = 0.0
        self._seconds = 0.0
        self._told = 0

    def note(self, num_turns: int, seconds: float) -> None:
        """In so many seconds of work, so many waiting requests have had their turn."""
        kept = max(0.0, 1 - seconds / MEMORY_S)
        self._turns = self._turns * kept + num_turns
        self._seconds = self._seconds * kept + seconds
        self._told += num_turns

    def wait_s(self, num_before: int) -> float:
        """Until the turn of a request with so many others before it; 0 as long as nobody knows."""
        if self._told < ENOUGH or not self._turns:
            return 0.0
        return num_before * self._seconds / self._turns

    def least_wait_s(self, num_before: int) -> float:
        """What is certain of the wait: nobody is refused for less."""
        return self.wait_s(num_before) / DOUBT

    def retry_s(self, num_waiting: int) -> float:
        """When there should be room in a queue that is full with so many."""
        return min(MAX_RETRY_S, max(1.0, self.wait_s(num_waiting) * QUEUE_SHARE))
