"""Stop strings, whatever the split of the text."""

import itertools

from hypothesis import given
from hypothesis import strategies as st
from pagelet_gateway.stopping import StopMatcher

letters = st.text("ab", min_size=0, max_size=30)
stops = st.lists(st.text("ab", min_size=1, max_size=5), min_size=1, max_size=4)


def read(matcher: StopMatcher, pieces: list[str]) -> tuple[str, str | None]:
    shown = ""
    for piece in pieces:
        emitted = matcher.feed(piece)
        shown += emitted.text
        if emitted.matched is not None:
            return shown, emitted.matched
    return shown + matcher.flush(), None


def first_to_end(text: str, stop_strings: list[str]) -> tuple[str, str | None]:
    """The definition: reading character by character, the first stop string to be complete; of several, the longest."""
    for end in range(1, len(text) + 1):
        complete = [stop for stop in stop_strings if text[:end].endswith(stop)]
        if complete:
            longest = max(complete, key=len)
            return text[: end - len(longest)], longest
    return text, None


@given(text=letters, stop_strings=stops, cuts=st.lists(st.integers(0, 30)))
def test_shows_the_text_before_the_first_match_whatever_the_split(
    text: str, stop_strings: list[str], cuts: list[int]
) -> None:
    borders = sorted({0, len(text), *(cut for cut in cuts if cut < len(text))})
    pieces = [text[start:end] for start, end in itertools.pairwise(borders)]
    assert read(StopMatcher(stop_strings), pieces) == first_to_end(text, stop_strings)


@given(text=letters, stop_strings=stops)
def test_holds_back_only_what_may_be_the_beginning_of_a_stop_string(text: str, stop_strings: list[str]) -> None:
    matcher = StopMatcher(stop_strings)
    seen = shown = ""
    for character in text:
        emitted = matcher.feed(character)
        seen, shown = seen + character, shown + emitted.text
        if emitted.matched is not None:
            return
        held = seen[len(shown) :]
        assert held == "" or any(stop.startswith(held) for stop in stop_strings)


def test_shows_the_stop_string_too_when_asked() -> None:
    assert read(StopMatcher(["END"], include=True), ["the E", "N", "D and more"]) == ("the END", "END")


def test_finds_a_stop_string_across_many_pieces() -> None:
    assert read(StopMatcher(["\n\nHuman:"]), ["Yes.\n", "\n", "Hu", "man", ": no"]) == ("Yes.", "\n\nHuman:")


def test_gives_back_what_it_held_when_nothing_more_comes() -> None:
    assert read(StopMatcher(["abc"]), ["xab"]) == ("xab", None)
