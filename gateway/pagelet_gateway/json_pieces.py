"""JSON in pieces: arrays that may be long are written a slice at a time, so that other requests are served in between,
and what several choices share is written once.

Every generator here does a bounded amount of work between two pieces; an empty piece is work without output.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, TypeVar

Value = TypeVar("Value")

SLICE_ITEMS = 64

quote = json.JSONEncoder(separators=(",", ":")).encode
"""ASCII: some clients split lines at U+2028 and its like, which JSON would let stand."""
quote_text = json.encoder.encode_basestring_ascii
"""The same for a string, quicker."""


def slices(values: Sequence[Value]) -> Iterator[Sequence[Value]]:
    for first in range(0, len(values), SLICE_ITEMS):
        yield values[first : first + SLICE_ITEMS]


def items(values: Iterable[Any]) -> Iterator[bytes]:
    """The items of an array, without its brackets: some in each piece, with commas between them."""
    left = iter(values)
    while some := list(islice(left, SLICE_ITEMS)):
        yield quote(some)[1:-1].encode("ascii")


def array(*parts: Iterable[bytes]) -> Iterator[bytes]:
    """One array of the items of all parts; every piece that is not empty has at least one item."""
    separator = b"["
    for part in parts:
        for piece in part:
            if piece:
                yield separator
                separator = b","
            yield piece
    yield b"]" if separator == b"," else b"[]"
