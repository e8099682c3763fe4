"""The two ends of a model that know the vocabulary: tokens in, logits out. One matrix where they are tied."""

from collections.abc import Mapping

from torch import Tensor, nn

from pagelet_engine.layers.backend import Backend
from pagelet_engine.layers.batch import Batch
from pagelet_engine.weights.destination import Destination


class Embedding(nn.Module):
    def __init__(self, vocab_size: int, hidden: int, backend: Backend) -> None:
        super().__init__()
        self.backend = backend
        backend.tables.declare(self, vocab_size, hidden, bias=False)

    def forward(self, batch: Batch) -> Tensor:
        """→ (tokens, hidden)."""
        return self.backend.embedding(self, batch)

    def logits(self, x: Tensor) -> Tensor:
        """The matrix as an output head: (rows, hidden) → (rows, vocab) fp32."""
        return self.backend.head_logits(self, x)

    def load(self, name: str) -> Mapping[str, Destination]:
        return self.backend.tables.load(self, name, slice(None))
