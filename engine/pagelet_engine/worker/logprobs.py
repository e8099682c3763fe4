"""Log probabilities of the raw distribution: before penalties, temperature and filters."""

from collections.abc import Iterator
from dataclasses import dataclass, fields

from torch import Tensor

from pagelet_engine.core.step import TokenLogprobs


@dataclass(frozen=True, slots=True)
class RawLogprobs:
    """Of some rows, still on the device."""

    tokens: Tensor
    """(rows,) the tokens in question."""
    chosen: Tensor
    """(rows,) their logarithms."""
    ranks: Tensor
    """(rows,) 1 + how many tokens are strictly more likely."""
    top_tokens: Tensor
    """(rows, most) the most likely tokens."""
    top: Tensor
    """(rows, most)"""

    @property
    def tensors(self) -> list[Tensor]:
        return [getattr(self, field.name) for field in fields(self)]

    def like(self, tensors: Iterator[Tensor]) -> "RawLogprobs":
        """The same, with the next of these for its own tensors."""
        return RawLogprobs(*(next(tensors) for _ in fields(self)))

    def to_host(self, counts: Iterator[int]) -> list[TokenLogprobs]:
        """One entry a row, with the next of `counts` as its number of alternatives: likeliest first, ties by token."""
        columns = zip(self.tokens.tolist(), self.chosen.tolist(), self.ranks.tolist(), strict=True)
        tops = zip(self.top_tokens.tolist(), self.top.tolist(), strict=True)
        entries = []
        for (token, logprob, rank), (ids, values) in zip(columns, tops, strict=True):
            ranked = sorted(zip(ids, values, strict=True), key=lambda pair: (-pair[1], pair[0]))[: next(counts)]
            top_tokens, top_logprobs = tuple(i for i, _ in ranked), tuple(v for _, v in ranked)
            entries.append(TokenLogprobs(token, logprob, rank, top_tokens, top_logprobs))
        return entries


def raw_logprobs(logits: Tensor, tokens: Tensor, most: int) -> RawLogprobs:
    """logits (rows, vocab) fp32 as the model made them, tokens (rows,), the most alternatives that any row wants."""
    total = logits.logsumexp(-1, keepdim=True)
    chosen = logits.gather(1, tokens[:, None])
    ranks = (logits > chosen).sum(-1) + 1
    top, top_tokens = logits.topk(min(most, logits.shape[1]), dim=-1)
    return RawLogprobs(tokens, (chosen - total).squeeze(1), ranks, top_tokens, top - total)
