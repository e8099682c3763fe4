"""One sample: the same answer however its tokens are grouped into steps."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from pagelet_api import inference_pb2 as pb
from pagelet_gateway.sample import Sample
from pagelet_gateway.tokenizer import Tokenizer

from .tokenizers_made_here import byte_level

RAW = byte_level()
TOKENIZER = Tokenizer(RAW.to_str().encode(), {})
END = RAW.token_to_id("<|im_end|>")

texts = st.text(st.sampled_from("ab é日🎉"), max_size=20)
stop_strings = st.lists(st.text(st.sampled_from("ab é日🎉"), min_size=1, max_size=3), max_size=3)


def updates(tokens: list[int], cuts: set[int], reason: int, logprobs: bool) -> list[pb.SampleUpdate]:
    """The tokens in steps that end at the cuts; the last one ends the sample."""
    borders = sorted({0, len(tokens), *(cut for cut in cuts if 0 < cut < len(tokens))})
    made = [pb.SampleUpdate(token_ids=tokens[first:last]) for first, last in pairwise(borders)] or [pb.SampleUpdate()]
    for update in made if logprobs else ():
        update.logprobs.extend(pb.TokenLogprobs(token_id=token) for token in update.token_ids)
    made[-1].finish_reason = reason  # type: ignore[assignment]
    if reason == pb.STOP:
        made[-1].stop_token_id = tokens[-1]
    return made


def read(sample: Sample, steps: list[pb.SampleUpdate]) -> tuple[str, int, str | None, str | int | None, int]:
    text, logprobs = "", 0
    for step in steps:
        delta = sample.feed(step)
        text += delta.text
        logprobs += len(delta.logprobs)
        if sample.finished:
            return text, sample.completion_tokens, delta.finish_reason, delta.stop_reason, logprobs
    raise AssertionError("the last step ends the sample")


@given(text=texts, stops=stop_strings, cuts=st.sets(st.integers(1, 40)), ends=st.booleans(), least=st.integers(0, 5))
def test_grouping_changes_neither_text_nor_counts_nor_reasons(
    text: str, stops: list[str], cuts: set[int], ends: bool, least: int
) -> None:
    tokens = [*TOKENIZER.encode(text, add_special_tokens=False), *([END] if ends else [])]
    reason = pb.STOP if ends else pb.LENGTH
    results = [
        read(
            Sample(
                TOKENIZER.detokenizer([], skip_special_tokens=True),
                stops,
                min_tokens=least,
                end_tokens=frozenset([END]),
            ),
            updates(tokens, grouping, reason, logprobs=True),
        )
        for grouping in (set(range(50)), cuts, set())
    ]
    assert results[0] == results[1] == results[2]
    shown, counted, finish, stop, logprobs = results[0]
    assert logprobs == counted
    if stop is None:
        assert (shown, counted, finish) == (text, len(tokens), "stop" if ends else "length")
    else:
        assert finish == "stop"
        assert text.startswith(shown + str(stop))
        assert str(stop) in TOKENIZER.decode(tokens[:counted], skip_special_tokens=True)


def test_a_stop_token_of_the_request_is_the_reason_and_the_model_s_own_end_is_none() -> None:
    (word,) = TOKENIZER.encode("a", add_special_tokens=False)
    for last, reason in ((word, word), (END, None)):
        sample = Sample(TOKENIZER.detokenizer([], skip_special_tokens=True), end_tokens=frozenset([END]))
        (step,) = updates([word, last], set(), pb.STOP, logprobs=False)
        assert read(sample, [step]) == ("a", 2, "stop", reason, 0)


@given(st.lists(st.tuples(st.integers(0, RAW.get_vocab_size() - 1), st.booleans())), st.booleans())
def test_drawn_tokens_read_as_updates_do(tokens: list[tuple[int, bool]], skip: bool) -> None:
    """The second of each: whether it comes in the lean form."""
    general, mixed = (Sample(TOKENIZER.detokenizer([], skip_special_tokens=skip)) for _ in range(2))
    for token, lean in tokens:
        update = pb.SampleUpdate(token_ids=[token])
        assert (mixed.draw(token) if lean else mixed.feed(update).text) == general.feed(update).text
    assert mixed.completion_tokens == general.completion_tokens


def test_where_a_token_may_end_a_sample_its_text_alone_is_not_told() -> None:
    sample = Sample(TOKENIZER.detokenizer([], skip_special_tokens=True), ["stop"])
    assert sample.draw(5) is None
    assert sample.completion_tokens == 0
