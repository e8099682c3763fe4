import pytest
from pagelet_engine.core.request import FinishReason, Request
from pagelet_engine.core.sample import RequestInProgress, Sample
from pagelet_engine.core.sampling import SamplingParams

STOP = 7


def sample(**sampling: int) -> Sample:
    request = Request("id", (1, 2, 3), SamplingParams(stop_token_ids=frozenset({STOP}), **sampling))
    return RequestInProgress(request, arrival=0, sample_numbers=iter([0]), max_length=10, root=b"", tenant="").samples[
        0
    ]


def test_says_all_that_is_drawn_until_it_ends():
    speaker = sample()
    assert speaker.extend((4, 5)) == 2
    assert speaker.output == (4, 5)
    assert speaker.finish_reason is None


@pytest.mark.parametrize(("sampling", "length"), [({}, 7), ({"max_tokens": 2}, 2)])
def test_ends_at_its_length_and_drops_drafts_beyond(sampling, length):
    speaker = sample(**sampling)
    assert speaker.extend((4,) * 20) == length
    assert speaker.finish_reason is FinishReason.LENGTH


def test_ends_with_the_stop_token_and_drops_drafts_beyond():
    speaker = sample(max_tokens=2)
    assert speaker.extend((4, STOP, 5)) == 2
    assert speaker.output == (4, STOP)
    assert (speaker.finish_reason, speaker.stop_token) == (FinishReason.STOP, STOP)


def test_a_stop_token_before_min_tokens_is_a_token_like_others():
    speaker = sample(min_tokens=2)
    assert speaker.extend((STOP, STOP)) == 2
    assert speaker.finish_reason is None
    assert speaker.extend((STOP,)) == 1
    assert speaker.finish_reason is FinishReason.STOP
