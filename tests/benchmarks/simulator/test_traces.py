from statistics import fmean

import pytest
from simulator.traces import ALPACA, SHAREGPT, Lengths, backlog, poisson


@pytest.mark.parametrize(("lengths", "prompt", "output"), [(SHAREGPT, 161, 338), (ALPACA, 19, 58)])
def test_lengths_have_the_papers_means_and_fit(lengths: Lengths, prompt: int, output: int) -> None:
    drawn = backlog(lengths, 20_000)
    assert fmean(arrival.prompt_tokens for arrival in drawn) == pytest.approx(prompt, rel=0.02)
    assert fmean(arrival.output_tokens for arrival in drawn) == pytest.approx(output, rel=0.02)
    assert max(arrival.prompt_tokens + arrival.output_tokens for arrival in drawn) <= 2048
    assert min(min(arrival.prompt_tokens, arrival.output_tokens) for arrival in drawn) >= 1


def test_arrivals_come_at_the_rate_and_another_rate_brings_the_same_lengths() -> None:
    slow, fast = poisson(SHAREGPT, 2.0, 1000.0), poisson(SHAREGPT, 4.0, 1000.0)
    assert len(slow) == pytest.approx(2000, rel=0.1)
    assert [arrival[1:] for arrival in slow] == [arrival[1:] for arrival in fast[: len(slow)]]
    assert fast[100].arrived_s == pytest.approx(slow[100].arrived_s / 2)


def test_prompts_share_their_prefix_and_nothing_else() -> None:
    first, second = (
        arrival._replace(prompt_tokens=5, prefix=1, prefix_tokens=3).request(number).prompt
        for number, arrival in enumerate(backlog(ALPACA, 2))
    )
    assert first[:3] == second[:3]
    assert not set(first[3:]) & set(second)
