"""Log probabilities against a float64 log-softmax."""

from collections.abc import Sequence
from types import SimpleNamespace

import pytest
import torch
from pagelet_engine.worker.local.prompt_logprobs import prompt_logprobs
from pagelet_engine.worker.local.sampling_ops import TorchSampling

from tests.engine.worker.local.every_ops import every_ops


@every_ops
def test_are_of_the_softmax_with_rank_and_the_likeliest(ops):
    logits = 3 * torch.randn(5, 50, generator=torch.Generator().manual_seed(0))
    tokens = torch.tensor([3, 0, 49, 7, 7])
    wanted = logits.double().log_softmax(-1)
    for row, entry in enumerate(ops.logprobs(logits, tokens, 4).to_host(iter([4, 0, 1, 4, 2]))):
        order = wanted[row].argsort(descending=True).tolist()
        assert entry.token == tokens[row]
        assert entry.logprob == pytest.approx(float(wanted[row, entry.token]), abs=1e-5)
        assert order[entry.rank - 1] == entry.token
        count = [4, 0, 1, 4, 2][row]
        assert entry.top_tokens == tuple(order[:count])
        assert entry.top_logprobs == pytest.approx(wanted[row, order[:count]].tolist(), abs=1e-5)


@every_ops
def test_equals_share_the_better_rank_and_are_listed_by_token(ops):
    logits = torch.tensor([[1.0, 5.0, 1.0, 5.0, 0.0]])
    (entry,) = ops.logprobs(logits, torch.tensor([3]), 2).to_host(iter([2]))
    assert (entry.rank, entry.top_tokens) == (1, (1, 3))


@every_ops
def test_more_alternatives_than_tokens_are_all_tokens(ops):
    (entry,) = ops.logprobs(torch.zeros(1, 3), torch.tensor([0]), 20).to_host(iter([20]))
    assert entry.top_tokens == (0, 1, 2)


def test_a_prompts_are_made_a_bounded_number_of_rows_at_a_time():
    asked: list[list[int]] = []

    def logits_of(wanted: Sequence[int]) -> torch.Tensor:
        asked.append(list(wanted))
        return torch.zeros(len(wanted), 4)

    source = SimpleNamespace(sampling=TorchSampling(), max_prompt_rows=12, logits_of=logits_of)
    parts = prompt_logprobs(range(3, 53), [0] * 50, 1, source)
    assert [len(rows) for rows in asked] == [12, 12, 12, 12, 2]
    assert [row for rows in asked for row in rows] == list(range(3, 53))
    assert sum(len(part.tokens) for part in parts) == 50
