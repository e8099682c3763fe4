"""What a host must know of a step before its device does: how much of everything there is.

The header goes from host to host; what the counts are about, the payload, goes from device to device (sections.py). So
no rank waits for its device to learn what to launch next.
"""

from array import array
from dataclasses import astuple, dataclass

from pagelet_engine.core.step import BlockCopy, Tier


@dataclass(frozen=True, slots=True)
class Header:
    """Numbers of one step. Tokens and sequences are counted as the payload holds them, padding included."""

    step: int
    num_tokens: int
    num_seqs: int
    num_decodes: int
    """Sequences that compute one token; they come first."""
    num_draws: int
    """Rows of logits that are made for drawing."""
    graph: bool
    """The step is one token of each sequence, and a graph that was captured for so many of them computes it."""
    longest_query: int
    """Tokens of one sequence in this step, at most."""
    longest_context: int
    """Tokens of one sequence in the cache after this step, at most."""
    prompt_rows: tuple[int, ...] = ()
    """Rows of logits of prompts, made after those for drawing: so many at a time."""
    updates: tuple[int, ...] = ()
    """Changed entries of the block tables, by KV group."""
    copies: tuple[BlockCopy, ...] = ()

    def encode(self) -> bytes:
        """Little-endian 64-bit integers."""
        numbers = [*self._fixed, len(self.prompt_rows), *self.prompt_rows, len(self.updates), *self.updates]
        for copy in self.copies:
            numbers += astuple(copy)
        return array("q", numbers).tobytes()

    @classmethod
    def decode(cls, data: bytes) -> "Header":
        """What `encode` made, on another rank of the same release."""
        numbers = array("q")
        numbers.frombytes(data)
        rest = iter(numbers)

        def take(count: int) -> tuple[int, ...]:
            return tuple(next(rest) for _ in range(count))

        step, num_tokens, num_seqs, num_decodes, num_draws, graph, longest_query, longest_context = take(_FIXED)
        prompt_rows = take(*take(1))
        updates = take(*take(1))
        copies = tuple(
            BlockCopy(group, Tier(source_tier), source, Tier(destination_tier), destination)
            for group, source_tier, source, destination_tier, destination in zip(*[rest] * 5, strict=True)
        )
        return cls(
            step,
            num_tokens,
            num_seqs,
            num_decodes,
            num_draws,
            bool(graph),
            longest_query,
            longest_context,
            prompt_rows,
            updates,
            copies,
        )

    @property
    def _fixed(self) -> tuple[int, ...]:
        return (
            self.step,
            self.num_tokens,
            self.num_seqs,
            self.num_decodes,
            self.num_draws,
            self.graph,
            self.longest_query,
            self.longest_context,
        )


_FIXED = 8
