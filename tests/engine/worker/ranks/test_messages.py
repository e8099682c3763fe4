"""What ranks say to each other survives the way, and nonsense is told apart."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pagelet_engine.worker.ranks.messages import (
    NO_MORE_STEPS,
    Beat,
    Failure,
    Hello,
    Nonsense,
    Refusal,
    Welcome,
    decode_answer,
    decode_hello,
    decode_news,
    decode_step,
    disagreement,
    encode_json,
    encode_news,
    encode_step,
)

OURS = Hello(0, 3, "pid 1", {"model": "sha256:ab", "torch": "2.15.0"})
THEIRS = replace(OURS, rank=2, where="pid 2")
numbers = st.integers(0, 2**63 - 1)


@given(st.integers(), st.integers(), st.text(), st.dictionaries(st.text(), st.text()))
def test_a_hello_arrives_as_it_was_said(rank: int, size: int, where: str, facts: dict[str, str]) -> None:
    hello = Hello(rank, size, where, facts)
    assert decode_hello(encode_json(hello)) == hello


@given(st.one_of(st.builds(Beat, numbers, numbers), st.builds(Failure, st.text())))
def test_news_arrive_as_they_were_said(news: Beat | Failure) -> None:
    assert decode_news(encode_news(news)) == news


@given(numbers, st.binary())
def test_a_step_arrives_as_it_was_said_and_is_never_the_last_word(number: int, header: bytes) -> None:
    frame = encode_step(number, header)
    assert decode_step(frame) == (number, header)
    assert frame != NO_MORE_STEPS


def test_answers_arrive_as_they_were_said() -> None:
    for answer in (Welcome(4711), Refusal("no")):
        assert decode_answer(encode_json(answer)) == answer


@given(st.binary(max_size=40))
def test_nonsense_is_refused(data: bytes) -> None:
    for decode in (decode_hello, decode_answer):
        with pytest.raises(Nonsense):
            decode(data)


@pytest.mark.parametrize("data", [b"", b".", b".1234567890123456789", b"GET / HTTP/1.1"])
def test_news_that_are_none_are_refused(data: bytes) -> None:
    with pytest.raises(Nonsense):
        decode_news(data)


def test_ranks_agree_when_all_facts_do() -> None:
    assert disagreement(OURS, THEIRS) is None


@pytest.mark.parametrize(
    ("theirs", "sentence"),
    [
        (replace(THEIRS, size=4), "wanted a rank from 1 to 2 of 3, found rank 2 of 4"),
        (replace(THEIRS, rank=0), "wanted a rank from 1 to 2 of 3, found rank 0 of 3"),
        (replace(THEIRS, rank=3), "wanted a rank from 1 to 2 of 3, found rank 3 of 3"),
        (
            replace(THEIRS, facts={"model": "sha256:ab", "torch": "2.11.0"}),
            "torch: wanted 2.15.0 as on rank 0, found 2.11.0 on rank 2; give all ranks the same",
        ),
        (replace(THEIRS, facts={"torch": "2.15.0"}), "model: wanted sha256:ab as on rank 0, found nothing on rank 2;"),
    ],
)
def test_a_rank_that_is_another_is_told_what_differs(theirs: Hello, sentence: str) -> None:
    assert (disagreement(OURS, theirs) or "").startswith(sentence)
