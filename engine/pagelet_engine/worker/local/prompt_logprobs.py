"""Log probabilities of a prompt's own tokens."""

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from pagelet_engine.worker.local.sampling_ops import SamplingOps
from pagelet_engine.worker.logprobs import RawLogprobs


class LogitsSource(Protocol):
    """What it needs of `execution.Execution`."""

    @property
    def sampling(self) -> SamplingOps: ...

    @property
    def max_prompt_rows(self) -> int: ...

    def logits_of(self, rows: Sequence[int]) -> Tensor: ...


def prompt_logprobs(rows: Sequence[int], targets: Sequence[int], most: int, source: LogitsSource) -> list[RawLogprobs]:
    """rows of the step that stand before the prompt's tokens `targets`.

    The vocabulary is wide and prompts are long: the logits of a few rows at a time are made and forgotten.
    """
    length, parts = source.max_prompt_rows, []
    for first in range(0, len(rows), length):
        logits = source.logits_of(rows[first : first + length])
        tokens = torch.tensor(targets[first : first + length], device=logits.device)
        parts.append(source.sampling.logprobs(logits, tokens, most))
    return parts
