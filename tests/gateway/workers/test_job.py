"""The messages between gateway and workers."""

from array import array

from hypothesis import given
from hypothesis import strategies as st
from pagelet_api.openai.errors import OpenAIError
from pagelet_gateway.workers.job import Job, Kind, MessageDecoder, Prepared, Refused, decode_outcome, encode


def one(message: bytes) -> tuple[dict[str, object], bytes]:
    ((header, blob),) = MessageDecoder().feed(message)
    return header, blob


def test_a_job_arrives_as_it_was_sent() -> None:
    job = Job(Kind.CHAT, b'{"model": "\xc3\xa9"}', ("a", "b"), 7, 2048)
    assert Job.decode(*one(job.encode())) == job


def test_prompts_arrive_as_they_were_sent() -> None:
    prepared = Prepared({"n": 2}, ("user",), ([1, 2, 3], [4_000_000_000]), ("a", "\ud800"))
    arrived = decode_outcome(*one(prepared.encode()))
    assert isinstance(arrived, Prepared)
    assert arrived.prompts == (array("I", [1, 2, 3]), array("I", [4_000_000_000]))
    assert (arrived.fields, arrived.ignored, arrived.texts) == ({"n": 2}, ("user",), ("a", "\ud800"))


def test_a_whole_answer_arrives_as_it_was_sent() -> None:
    arrived = decode_outcome(*one(Prepared({}, content=b'{"count":0}').encode()))
    assert isinstance(arrived, Prepared)
    assert (arrived.prompts, arrived.content) == ((), b'{"count":0}')


def test_an_error_arrives_as_it_was_raised() -> None:
    error = OpenAIError(400, "n: wanted 1, found 'x'.", param="n", code="invalid_type")
    arrived = decode_outcome(*one(Refused(error, by_field=True).encode()))
    assert isinstance(arrived, Refused)
    assert arrived.by_field
    assert (arrived.error.status, arrived.error.body()) == (400, error.body())


@given(st.lists(st.tuples(st.dictionaries(st.text(), st.integers()), st.binary())), st.integers(1, 9))
def test_messages_are_joined_however_the_stream_is_cut(
    messages: list[tuple[dict[str, int], bytes]], length: int
) -> None:
    stream = b"".join(encode(header, blob) for header, blob in messages)
    decoder = MessageDecoder()
    arrived = [
        message for first in range(0, len(stream), length) for message in decoder.feed(stream[first : first + length])
    ]
    assert arrived == messages
