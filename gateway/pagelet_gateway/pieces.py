"""What each token of a vocabulary is in text: bytes, where the tokenizer's decoder works token by token.

Owns the reading of tokenizer.json's `decoder` section. Two families decode token by token and cover nearly all models
in use: byte-level BPE (GPT-2, Llama 3, Qwen, SmolLM) and SentencePiece-style BPE with byte fallback (Llama 2, Mistral,
Gemma). For any other, `read_pieces` says None, and text is had from the tokenizer's own decoder.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tokenizers import Tokenizer

_BYTE_TOKEN = re.compile(r"<0x([0-9A-Fa-f]{2})>")


@dataclass(frozen=True, slots=True)
class Pieces:
    """One entry a token id; `special` ids are the ones that skip_special_tokens leaves out."""

    data: tuple[bytes, ...]
    text: tuple[str | None, ...]
    """The same as text where it stands for itself; None for a fragment of a character."""
    special: frozenset[int]
    byte_fallback: bool
    """Fragments are single bytes that stand between whole pieces, instead of one long string of bytes."""
    strips_first_space: bool
    """The decoder drops one space at the beginning of a text."""


def byte_level_alphabet() -> dict[str, int]:
    """Character → byte of byte-level BPE: printable Latin-1 stands for itself, other bytes for characters from U+0100.

    Source: GPT-2, "Language Models are Unsupervised Multitask Learners", the published encoder.
    """
    own = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in set(own)]
    alphabet = {chr(byte): byte for byte in own}
    alphabet.update({chr(0x100 + number): byte for number, byte in enumerate(others)})
    return alphabet


def read_pieces(tokenizer: Tokenizer, description: Mapping[str, Any]) -> Pieces | None:
    """`description`: the parsed tokenizer.json. None where the decoder does not work token by token."""
    decoder = description.get("decoder") or {}
    added = tokenizer.get_added_tokens_decoder()
    special = frozenset(id for id, token in added.items() if token.special)
    vocabulary = {id: token for token, id in tokenizer.get_vocab(with_added_tokens=True).items()}
    size = max(vocabulary, default=-1) + 1
    tokens = [vocabulary.get(id, "") for id in range(size)]
    if decoder.get("type") == "ByteLevel":
        return _byte_level(tokens, special)
    steps = decoder.get("decoders", []) if decoder.get("type") == "Sequence" else []
    if [step["type"] for step in steps[:3]] == ["Replace", "ByteFallback", "Fuse"]:
        return _byte_fallback(tokens, special, steps)
    return None


def _byte_level(tokens: list[str], special: frozenset[int]) -> Pieces:
    alphabet = byte_level_alphabet()
    data: list[bytes] = []
    for token in tokens:
        try:
            data.append(bytes([alphabet[character] for character in token]))
        except KeyError:  # an added token is text already
            data.append(token.encode())
    return Pieces(tuple(data), tuple(map(_text_or_none, data)), special, byte_fallback=False, strips_first_space=False)


def _byte_fallback(tokens: list[str], special: frozenset[int], steps: list[Any]) -> Pieces | None:
    replace, _, _, *rest = steps
    pattern = replace["pattern"].get("String")
    strips = [step for step in rest if step == {"type": "Strip", "content": " ", "start": 1, "stop": 0}]
    if pattern is None or len(rest) != len(strips) or len(strips) > 1:
        return None
    data: list[bytes] = []
    text: list[str | None] = []
    for token in tokens:
        fragment = _BYTE_TOKEN.fullmatch(token)
        shown = token.replace(pattern, replace["content"])
        data.append(bytes([int(fragment[1], 16)]) if fragment else shown.encode())
        text.append(None if fragment else shown)
    return Pieces(tuple(data), tuple(text), special, byte_fallback=True, strips_first_space=bool(strips))


def _text_or_none(data: bytes) -> str | None:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return None
