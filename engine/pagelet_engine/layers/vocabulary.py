"""The two ends of a model that know the vocabulary: tokens in, logits out. One matrix where they are tied.

Each rank holds as many rows as the others. What the last ones have beyond the vocabulary is never looked at.
"""

from collections.abc import Mapping

from torch import Tensor, nn

from pagelet_engine.layers.backend import Backend
from pagelet_engine.layers.batch import Batch
from pagelet_engine.weights.destination import Destination, Part


class Embedding(nn.Module):
    def __init__(self, vocab_size: int, hidden: int, backend: Backend, scale: float = 1.0) -> None:
        """scale: of embeddings, not of logits; it is rounded to the backend's dtype, as the embeddings are."""
        super().__init__()
        self.vocab_size, self.hidden, self.scale = vocab_size, hidden, scale
        self.backend, self.ranks = backend, backend.ranks
        held = -(-vocab_size // self.ranks.size)
        first = min(self.ranks.rank * held, vocab_size)
        self.rows = slice(first, min(first + held, vocab_size))
        backend.tables.declare(self, held, hidden, bias=False)

    def forward(self, batch: Batch) -> Tensor:
        """→ (tokens, hidden)."""
        first_token = None if self.ranks.size == 1 else self.rows.start
        return self.ranks.all_reduce(self.backend.embedding(self, batch, first_token, self.scale))

    def logits(self, x: Tensor) -> Tensor:
        """The matrix as an output head: (rows, hidden) → (rows, vocab) fp32, which may lie in longer rows."""
        logits = self.ranks.all_gather(self.backend.head_logits(self, x))
        return logits if logits.shape[1] == self.vocab_size else logits[:, : self.vocab_size]

    def load(self, name: str) -> Mapping[str, Destination]:
        part = Part((self.vocab_size, self.hidden), self.rows)
        return self.backend.tables.load(self, name, slice(0, part.num_rows), part)
