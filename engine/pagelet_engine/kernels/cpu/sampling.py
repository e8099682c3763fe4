"""Drawing from rows of logits, and what log probabilities need of them, on the backend's threads."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pagelet_engine.kernels.cpu.abi import DrawRow, LogprobRow
from pagelet_engine.kernels.cpu.library import NativeBackend


@dataclass(frozen=True, slots=True)
class DrawSettings:
    """Of one row; the meaning is that of `core.sampling.SamplingParams`."""

    uniform: float
    """In [0, 1): which token, in vocabulary order, by cumulative weight."""
    temperature: float
    top_k: int
    """1 … vocabulary."""
    top_p: float
    min_p: float


def draw(
    native: NativeBackend, logits: Tensor, rows: Sequence[int], settings: Sequence[DrawSettings]
) -> tuple[list[int], list[bool]]:
    """logits (…, vocab) fp32, of which these rows → a token each, and whether it means anything: the
    largest logit is finite, and none is NaN."""
    drawn = (DrawRow * len(settings))(
        *(
            DrawRow(_row(logits, row), own.uniform, own.temperature, own.top_p, own.min_p, own.top_k)
            for row, own in zip(rows, settings, strict=True)
        )
    )
    native.draw(drawn, logits.shape[1])
    return [row.token for row in drawn], [bool(row.is_finite) for row in drawn]


@dataclass(frozen=True, slots=True)
class RowFacts:
    """Of some rows of logits and a token of each."""

    log_sum_exp: Tensor
    """(rows,)"""
    token_logits: Tensor
    """(rows,)"""
    ranks: Tensor
    """(rows,) int64: 1 + how many are strictly larger."""
    top_tokens: Tensor
    """(rows, most): largest logit first, of equals the lowest token."""
    top_logits: Tensor
    """(rows, most)"""


def row_facts(native: NativeBackend, logits: Tensor, tokens: Sequence[int], most: int) -> RowFacts:
    """logits (rows, vocab) fp32, a token a row, how many of the largest are wanted."""
    count, vocab_size = logits.shape
    most = min(most, vocab_size)
    top_tokens = torch.empty(count, most, dtype=torch.int64)
    top_logits = torch.empty(count, most, dtype=torch.float32)
    rows = (LogprobRow * count)(
        *(
            LogprobRow(
                logits=_row(logits, row),
                token=token,
                num_top=most,
                top_tokens=_row(top_tokens, row),
                top_logits=_row(top_logits, row),
            )
            for row, token in enumerate(tokens)
        )
    )
    native.logprobs(rows, vocab_size)
    return RowFacts(
        torch.tensor([row.log_sum_exp for row in rows]),
        torch.tensor([row.token_logit for row in rows]),
        torch.tensor([row.rank for row in rows], dtype=torch.int64),
        top_tokens,
        top_logits,
    )


def _row(rows: Tensor, row: int) -> int:
    return rows.data_ptr() + row * rows.stride(0) * rows.itemsize
