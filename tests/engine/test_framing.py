import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pagelet_engine.framing import MAX_FRAME_BYTES, FrameDecoder, FrameError, frame_prefix

FRAMES = st.lists(st.binary(max_size=300), max_size=20)


def encode(frames: list[bytes]) -> bytes:
    return b"".join(frame_prefix(frame) + frame for frame in frames)


@given(FRAMES, st.lists(st.integers(0, 6000)))
def test_frames_survive_any_cutting_of_the_stream(frames: list[bytes], cuts: list[int]) -> None:
    stream = encode(frames)
    edges = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    decoder = FrameDecoder()
    decoded = [frame for start, end in itertools.pairwise(edges) for frame in decoder.feed(stream[start:end])]
    assert decoded == frames
    assert decoder.pending_bytes == 0


@given(FRAMES, st.binary(min_size=1, max_size=50), st.integers(1, 54))
def test_a_frame_is_not_given_before_its_last_byte(frames: list[bytes], last: bytes, missing: int) -> None:
    missing = min(missing, len(last) + 4)
    whole = encode([*frames, last])
    decoder = FrameDecoder()
    assert decoder.feed(whole[: len(whole) - missing]) == frames
    assert decoder.feed(whole[len(whole) - missing :]) == [last]


@given(st.integers(MAX_FRAME_BYTES + 1, 2**32 - 1), FRAMES)
def test_a_lying_length_is_an_error_before_anything_is_awaited(length: int, frames: list[bytes]) -> None:
    with pytest.raises(FrameError, match=str(length)):
        FrameDecoder().feed(encode(frames) + length.to_bytes(4, "little"))
