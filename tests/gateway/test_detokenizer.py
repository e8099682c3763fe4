"""Tokens to text: never half a character, and in the end what the tokenizer's own decoder makes of the whole."""

import json
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pagelet_gateway.detokenizer import ByteFallbackDetokenizer, ByteLevelDetokenizer, Detokenizer, WindowDetokenizer
from pagelet_gateway.tokenizer import Tokenizer
from tokenizers import AddedToken

from .tokenizers_made_here import byte_fallback, byte_level, metaspace

BYTE_LEVEL = byte_level()
BYTE_FALLBACK = byte_fallback()
METASPACE = metaspace()
TEXTS = [
    "plain text, nothing else",
    "emoji 🎉, families 👩‍👩‍👧 and flags 🇫🇷",
    "日本語のテキスト。中文文本。한국어",
    "combining marks: e\u0301 a\u0308 \u0915\u094d\u0937",
    "  leading and trailing spaces  \n\n\ttabs",
    "Ω≈ç√∫˜µ≤≥÷ \u2028 \x00 \x7f",
]


def wrap(raw: object) -> Tokenizer:
    return Tokenizer(raw.to_str().encode(), {})  # type: ignore[attr-defined]


def emitted(detokenizer: Detokenizer, tokens: Sequence[int]) -> str:
    return "".join([*map(detokenizer.feed, tokens), detokenizer.flush()])


def byte_tokens(data: bytes) -> list[int]:
    """One token a byte, in the byte-level vocabulary."""
    tokenizer = wrap(BYTE_LEVEL)
    single = {tokenizer.token_bytes(id): id for id in range(BYTE_LEVEL.get_vocab_size() - 1, 2, -1)}
    return [single[bytes([byte])] for byte in data]


def fallback_tokens(data: bytes) -> list[int]:
    return [BYTE_FALLBACK.token_to_id(f"<0x{byte:02X}>") for byte in data]


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("raw", [BYTE_LEVEL, BYTE_FALLBACK, METASPACE], ids=["byte level", "byte fallback", "other"])
def test_a_text_comes_out_as_the_whole_decode_of_its_tokens(raw: object, text: str) -> None:
    tokenizer = wrap(raw)
    tokens = tokenizer.encode(text, add_special_tokens=False)
    whole = tokenizer.decode(tokens, skip_special_tokens=True)
    assert emitted(tokenizer.detokenizer([], skip_special_tokens=True), tokens) == whole


@pytest.mark.parametrize("text", TEXTS)
def test_text_split_at_every_byte_appears_character_by_character(text: str) -> None:
    detokenizer = wrap(BYTE_LEVEL).detokenizer([], skip_special_tokens=True)
    pieces = list(map(detokenizer.feed, byte_tokens(text.encode())))
    assert [piece for piece in pieces if piece] == list(text)
    assert detokenizer.flush() == ""


@pytest.mark.parametrize("text", TEXTS)
def test_text_in_fallback_bytes_appears_character_by_character(text: str) -> None:
    detokenizer = wrap(BYTE_FALLBACK).detokenizer([3], skip_special_tokens=True)
    pieces = list(map(detokenizer.feed, fallback_tokens(text.encode())))
    assert [piece for piece in pieces if piece] == list(text)


@given(st.lists(st.integers(0, BYTE_LEVEL.get_vocab_size() + 5), max_size=30), st.booleans())
def test_byte_level_deltas_are_the_whole_decode_of_any_tokens(tokens: list[int], skip: bool) -> None:
    tokenizer = wrap(BYTE_LEVEL)
    detokenizer = tokenizer.detokenizer([], skip_special_tokens=skip)
    assert isinstance(detokenizer, ByteLevelDetokenizer)
    assert emitted(detokenizer, tokens) == tokenizer.decode(tokens, skip_special_tokens=skip)


@given(st.binary(max_size=12))
def test_any_bytes_become_what_the_whole_decode_makes_of_them(data: bytes) -> None:
    tokens = byte_tokens(data)
    detokenizer = wrap(BYTE_LEVEL).detokenizer([], skip_special_tokens=True)
    assert emitted(detokenizer, tokens) == data.decode(errors="replace")


valid_pieces = st.one_of(
    st.integers(0, 2).map(lambda special: [special]),
    st.integers(259, BYTE_FALLBACK.get_vocab_size() - 1).map(lambda word: [word]),
    st.characters(exclude_categories=["Cs"]).map(lambda character: fallback_tokens(character.encode())),
)


@given(st.lists(valid_pieces, max_size=12), st.booleans(), st.booleans())
def test_byte_fallback_deltas_are_the_whole_decode(pieces: list[list[int]], skip: bool, strip: bool) -> None:
    tokens = [token for piece in pieces for token in piece]
    tokenizer = wrap(BYTE_FALLBACK if strip else byte_fallback(strip=False))
    detokenizer = tokenizer.detokenizer([], skip_special_tokens=skip)
    assert isinstance(detokenizer, ByteFallbackDetokenizer)
    assert emitted(detokenizer, tokens) == tokenizer.decode(tokens, skip_special_tokens=skip)


def test_a_run_of_broken_fallback_bytes_is_one_replacement_a_byte_as_in_the_whole_decode() -> None:
    tokenizer = wrap(BYTE_FALLBACK)
    for data in (b"\xff", b"\xe6\x97", b"\xf0\x9f\x8e", b"\x80\x80"):
        tokens = [*fallback_tokens(data), BYTE_FALLBACK.token_to_id("a")]
        for shown in (tokens, tokens[:-1]):
            detokenizer = tokenizer.detokenizer([3], skip_special_tokens=True)
            assert emitted(detokenizer, shown) == tokenizer.decode(shown, skip_special_tokens=True)


def test_whole_characters_stand_when_the_run_of_bytes_breaks_later() -> None:
    # SentencePiece's own rule; the tokenizers library would replace the first character too, when it was long shown.
    detokenizer = wrap(BYTE_FALLBACK).detokenizer([3], skip_special_tokens=True)
    assert emitted(detokenizer, fallback_tokens("é".encode() + b"\xff\xe6")) == "é\ufffd\ufffd"


@given(st.lists(st.integers(3, METASPACE.get_vocab_size() - 1), max_size=20))
def test_any_other_decoder_gives_the_whole_decode_by_differences(tokens: list[int]) -> None:
    tokenizer = wrap(METASPACE)
    detokenizer = tokenizer.detokenizer([], skip_special_tokens=True)
    assert isinstance(detokenizer, WindowDetokenizer)
    assert emitted(detokenizer, tokens) == tokenizer.decode(tokens, skip_special_tokens=True)


@pytest.mark.parametrize("raw", [BYTE_FALLBACK, METASPACE], ids=["byte fallback", "other"])
def test_the_first_space_stays_when_a_prompt_came_before(raw: object) -> None:
    tokenizer = wrap(raw)
    prompt, rest = (tokenizer.encode(text, add_special_tokens=False) for text in ("the fox", "the fox"))
    detokenizer = tokenizer.detokenizer(prompt, skip_special_tokens=True)
    assert emitted(detokenizer, rest) == " the fox"


def test_an_added_token_with_a_space_is_shown_as_it_is() -> None:
    raw = byte_level()
    raw.add_tokens([AddedToken("two words"), AddedToken("naïve")])
    tokenizer = wrap(raw)
    tokens = [raw.token_to_id("two words"), raw.token_to_id("naïve")]
    whole = tokenizer.decode(tokens, skip_special_tokens=True)
    assert whole.startswith("two words")
    assert emitted(tokenizer.detokenizer([], skip_special_tokens=True), tokens) == whole


def test_token_bytes_of_a_text_make_up_its_bytes() -> None:
    for raw in (BYTE_LEVEL, BYTE_FALLBACK):
        tokenizer = wrap(raw)
        tokens = tokenizer.encode("naïve 日本 🎉", add_special_tokens=False)
        assert b"".join(map(tokenizer.token_bytes, tokens)).strip() == "naïve 日本 🎉".encode()


def test_truncation_and_padding_of_the_file_are_not_applied() -> None:
    description = json.loads(BYTE_LEVEL.to_str())
    description["truncation"] = {"direction": "Right", "max_length": 3, "strategy": "LongestFirst", "stride": 0}
    tokenizer = Tokenizer(json.dumps(description).encode(), {})
    assert len(tokenizer.encode("one two three four five", add_special_tokens=False)) > 3
