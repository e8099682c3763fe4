"""From tokens to text, one token at a time, never half a character. One detokenizer serves one sample.

Owns bytes that do not make a character yet. What is emitted, all together, is what the tokenizer's decoder makes of
prompt and output at once, less the prompt's text; what can no longer become a character is U+FFFD.
"""

import codecs
from collections.abc import Callable, Sequence
from typing import Protocol

from pagelet_gateway.pieces import Pieces

_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
_LONGEST_CHARACTER_TOKENS = 8  # a text that ends with U+FFFD for longer than this means it


class Detokenizer(Protocol):
    def feed(self, token: int) -> str:
        """The text that `token` completes: often one piece, sometimes none."""
        ...

    def flush(self) -> str:
        """What is left when nothing more comes."""
        ...


class ByteLevelDetokenizer:
    """Byte-level BPE: all tokens' bytes are one UTF-8 string. `skip`: ids that are not shown."""

    def __init__(self, pieces: Pieces, skip: frozenset[int]) -> None:
        self._text = pieces.text
        self._data = pieces.data
        self._skip = skip
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._pending = False

    def feed(self, token: int) -> str:
        if token in self._skip or token >= len(self._text):
            return ""
        if not self._pending:
            text = self._text[token]
            if text is not None:
                return text
        text = self._decoder.decode(self._data[token])
        self._pending = bool(self._decoder.getstate()[0])
        return text

    def flush(self) -> str:
        self._pending = False
        return self._decoder.decode(b"", final=True)


class ByteFallbackDetokenizer:
    """SentencePiece-style pieces, with single bytes for what the vocabulary lacks.

    Whole characters of a run of bytes are emitted at once, and each byte that cannot be part of one is a U+FFFD, as
    SentencePiece decodes. (The `tokenizers` decoder judges a run only at its end, and replaces all of it if any byte
    is wrong: waiting for that would hold back whole sentences in scripts that a vocabulary spells in bytes.)
    """

    def __init__(self, pieces: Pieces, skip: frozenset[int], *, at_start: bool) -> None:
        self._pieces = pieces
        self._skip = skip
        self._bytes = b""
        self._strip = at_start and pieces.strips_first_space

    def feed(self, token: int) -> str:
        if token in self._skip or token >= len(self._pieces.text):
            return ""
        text = self._pieces.text[token]
        if text is None:
            self._bytes += self._pieces.data[token]
            text = self._take_characters()
        elif self._bytes:
            text = self.flush() + text
        if self._strip and text:
            self._strip = False
            return text.removeprefix(" ")
        return text

    def flush(self) -> str:
        rest, self._bytes = self._bytes, b""
        return _REPLACEMENT * len(rest)

    def _take_characters(self) -> str:
        taken = ""
        while self._bytes:
            try:
                text, used = codecs.utf_8_decode(self._bytes, "strict", False)
            except UnicodeDecodeError as error:
                taken += self._bytes[: error.start].decode() + _REPLACEMENT
                self._bytes = self._bytes[error.start + 1 :]
                continue
            self._bytes = self._bytes[used:]
            return taken + text
        return taken


class WindowDetokenizer:
    """Any other decoder: decodes a short window of the last tokens twice, and emits the difference.

    `context`: the prompt's last tokens, because many decoders treat the beginning of a text in a way of its own.
    """

    def __init__(self, decode: Callable[[list[int]], str], context: Sequence[int]) -> None:
        self._decode = decode
        self._window = list(context)
        self._known = len(self._window)  # tokens of the window whose text was emitted (or was the prompt's)
        self._shown = decode(self._window)

    def feed(self, token: int) -> str:
        self._window.append(token)
        whole = self._decode(self._window)
        unfinished = whole.endswith(_REPLACEMENT) and len(self._window) - self._known < _LONGEST_CHARACTER_TOKENS
        if unfinished or len(whole) <= len(self._shown):
            return ""
        emitted = whole[len(self._shown) :]
        # The next window begins with the tokens just emitted: enough context for the decoder's rules.
        self._window = self._window[self._known :]
        self._known = len(self._window)
        self._shown = self._decode(self._window)
        return emitted

    def flush(self) -> str:
        rest = self._decode(self._window)[len(self._shown) :]
        self._window, self._known, self._shown = [], 0, ""
        return rest
