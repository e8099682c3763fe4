import pytest
from pagelet_engine.core.admission import Capacity
from pagelet_engine.core.request import RejectReason, Request, RequestRejected
from pagelet_engine.core.sampling import SamplingParams

AMPLE = Capacity(max_model_len=10, num_blocks=100, block_size=4)
SMALL_POOL = Capacity(max_model_len=100, num_blocks=2, block_size=4)


def request(prompt: int, **sampling: int | None) -> Request:
    return Request("id", tuple(range(prompt)), SamplingParams(**sampling))


@pytest.mark.parametrize("capacity", [AMPLE, SMALL_POOL])
def test_accepts_what_fits_to_the_last_token(capacity):
    capacity.judge(request(capacity.max_length - 1))
    capacity.judge(request(capacity.max_length - 3, max_tokens=3))


def test_max_length_is_what_the_pool_holds_if_that_is_less():
    assert AMPLE.max_length == 10
    assert SMALL_POOL.max_length == 8


@pytest.mark.parametrize(
    ("capacity", "asked", "sentence"),
    [
        (AMPLE, request(10), r"10 prompt tokens \+ at least 1 output token = 11 tokens.*at most 10 \(max_model_len\)"),
        (AMPLE, request(8, max_tokens=3), r"8 prompt tokens \+ 3 output tokens \(max_tokens\) = 11 tokens"),
        (SMALL_POOL, request(8), r"at most 8 \(2 KV blocks × 4 tokens, less than max_model_len = 100\)"),
    ],
)
def test_refuses_what_never_fits_with_the_numbers(capacity, asked, sentence):
    with pytest.raises(RequestRejected, match=sentence) as refused:
        capacity.judge(asked)
    assert refused.value.reason is RejectReason.NEVER_FITS


@pytest.mark.parametrize("asked", [request(0), request(1, max_tokens=0), request(1, n=0)])
def test_refuses_what_means_nothing(asked):
    with pytest.raises(RequestRejected) as refused:
        AMPLE.judge(asked)
    assert refused.value.reason is RejectReason.INVALID
