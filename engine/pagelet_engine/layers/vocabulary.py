"""The two ends of a model that know the vocabulary: tokens in, logits out. One matrix where they are tied."""

import torch
from torch import Tensor, nn

from pagelet_engine.kernels.reference.embedding import embedding
from pagelet_engine.kernels.reference.head_logits import head_logits
from pagelet_engine.weights.destination import Destination


class Embedding(nn.Module):
    def __init__(self, vocab_size: int, hidden: int, *, dtype: torch.dtype, device: torch.device) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(vocab_size, hidden, dtype=dtype, device=device), requires_grad=False)

    def forward(self, token_ids: Tensor) -> Tensor:
        """(tokens,) → (tokens, hidden)."""
        return embedding(token_ids, self.weight)

    def logits(self, x: Tensor) -> Tensor:
        """The matrix as an output head: (rows, hidden) → (rows, vocab) fp32."""
        return head_logits(x, self.weight)

    def load(self, name: str) -> dict[str, Destination]:
        return {f"{name}.weight": Destination(self.weight.data)}
