"""A model's tokenizer: text → tokens, tokens → text, and every token's own bytes and name.

Owns the `tokenizers` object and what its configuration says about special tokens. Knows no HTTP and no engine.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from tokenizers import Tokenizer as _Tokenizer

from pagelet_gateway.detokenizer import (
    ByteFallbackDetokenizer,
    ByteLevelDetokenizer,
    Detokenizer,
    WindowDetokenizer,
)
from pagelet_gateway.pieces import read_pieces

_CONTEXT_TOKENS = 6
_NONE: frozenset[int] = frozenset()


class TokenizerError(Exception):
    """A tokenizer file that cannot be used."""


class Tokenizer:
    """Immutable once built, and safe to use from several threads."""

    def __init__(self, tokenizer_json: bytes, tokenizer_config: Mapping[str, Any]) -> None:
        """Raises TokenizerError."""
        try:
            self._tokenizer = _Tokenizer.from_str(tokenizer_json.decode())
            description = json.loads(tokenizer_json)
        except Exception as error:  # the library raises Exception itself
            raise TokenizerError(f"tokenizer.json cannot be read: {error}") from error
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._pieces = read_pieces(self._tokenizer, description)
        added = self._tokenizer.get_added_tokens_decoder()
        self.special_ids = frozenset(id for id, token in added.items() if token.special)
        self.special_tokens = _named_tokens(tokenizer_config)
        """bos_token, eos_token, …: what chat templates call them → the token's text."""
        vocabulary = self._tokenizer.get_vocab(with_added_tokens=True)
        self.longest_token_chars = max(map(len, vocabulary), default=1)

    def encode(self, text: str, *, add_special_tokens: bool) -> list[int]:
        """Token ids. The library's quick way, which leaves out where in the text each token stands, is for batches."""
        (encoding,) = self._tokenizer.encode_batch_fast([text], add_special_tokens=add_special_tokens)
        ids: list[int] = encoding.ids
        return ids

    def decode(self, tokens: Sequence[int], *, skip_special_tokens: bool) -> str:
        text: str = self._tokenizer.decode(tokens, skip_special_tokens=skip_special_tokens)
        return text

    def detokenizer(self, prompt: Sequence[int], *, skip_special_tokens: bool) -> Detokenizer:
        """For one sample that follows `prompt`."""
        skip = self.special_ids if skip_special_tokens else _NONE
        pieces = self._pieces
        if pieces is None:
            return WindowDetokenizer(
                lambda ids: self.decode(ids, skip_special_tokens=skip_special_tokens), prompt[-_CONTEXT_TOKENS:]
            )
        if not pieces.byte_fallback:
            return ByteLevelDetokenizer(pieces, skip)
        return ByteFallbackDetokenizer(pieces, skip, at_start=skip.issuperset(prompt))

    def token_bytes(self, token: int) -> bytes:
        """The token's own bytes, perhaps a fragment of a character; special tokens are their names."""
        if self._pieces is None:
            return self.decode([token], skip_special_tokens=False).encode()
        return self._pieces.data[token] if token < len(self._pieces.data) else b""

    def token_name(self, token: int) -> str:
        """As it stands in the vocabulary; empty where there is none."""
        return self._tokenizer.id_to_token(token) or ""

    def __contains__(self, token: int) -> bool:
        return self._tokenizer.id_to_token(token) is not None


def _named_tokens(config: Mapping[str, Any]) -> dict[str, str]:
    named: dict[str, str] = {}
    for name, token in config.items():
        if name.endswith("_token"):
            content = token.get("content") if isinstance(token, dict) else token
            if isinstance(content, str):
                named[name] = content
    return named
