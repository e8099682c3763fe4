"""Where everything lies in a step's payload: one buffer of 32-bit integers, written by rank 0's host, read by every
rank's device.

Pure arithmetic over a header: the same cut gives numpy arrays to write into and torch views to read from.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
import numpy.typing as npt
from torch import Tensor

from pagelet_engine.worker.device.header import Header

_ALIGNMENT = 4
"""Integers: every section begins at a multiple of 16 bytes, so that kernels may load it in vectors."""


A = TypeVar("A", npt.NDArray[np.int32], Tensor)


@dataclass(frozen=True, slots=True)
class Sections(Generic[A]):
    """Views into one buffer, int32."""

    token_ids: A
    """(tokens,) sequence after sequence; -1: the last token that was drawn for its slot. Padding: 0."""
    positions: A
    """(tokens,) each token's place in its own sequence."""
    token_slots: A
    """(tokens,) each token's slot: a row of the block tables; -1: padding."""
    cu_query_lens: A
    """(seqs + 1,) sequence i computes the tokens from cu_query_lens[i] up to cu_query_lens[i + 1]; padding: none."""
    seq_lens: A
    """(seqs,) tokens in the cache after this step; padding: 0."""
    seq_slots: A
    """(seqs,)"""
    adapter_slots: A
    """(seqs,) the adapter of each sequence; 0: none."""
    draw_rows: A
    """(draws,) the tokens behind which one is drawn."""
    draw_slots: A
    """(draws,) whose they are."""
    updates: tuple[A, ...]
    """(entries, 3) by KV group: block_table[slot, index] = block."""
    copies: tuple[A, ...]
    """(copies, 2) by KV group: source and destination of the copies within the device, in their order."""
    prompt_rows: A
    """(rows,) tokens whose logits are wanted beside the draws: of prompts."""


def cut(buffer: A, header: Header) -> Sections[A]:
    """The sections of a step's payload, which lies at the beginning of `buffer` (≥ payload_length,)."""
    parts = (buffer[part] for part in _parts(header))
    return Sections(
        *(next(parts), next(parts), next(parts)),
        *(next(parts), next(parts), next(parts), next(parts)),
        *(next(parts), next(parts)),
        updates=tuple(next(parts).reshape(-1, 3) for _ in header.updates),
        copies=tuple(next(parts).reshape(-1, 2) for _ in header.updates),
        prompt_rows=next(parts),
    )


def payload_length(header: Header) -> int:
    """Integers, padding between sections included."""
    return max(aligned(part.stop) for part in _parts(header))


def copies_within(header: Header, group: int) -> list[tuple[int, int]]:
    """Source and destination of a group's copies within the device."""
    return [(each.source, each.destination) for each in header.copies if each.group == group and not each.is_move]


def _parts(header: Header) -> Iterator[slice]:
    tokens, seqs, draws = header.num_tokens, header.num_seqs, header.num_draws
    groups = range(len(header.updates))
    lengths = [tokens, tokens, tokens, seqs + 1, seqs, seqs, seqs, draws, draws]
    lengths += [3 * header.updates[group] for group in groups]
    lengths += [2 * len(copies_within(header, group)) for group in groups]
    lengths.append(sum(header.prompt_rows))
    first = 0
    for length in lengths:
        yield slice(first, first + length)
        first = aligned(first + length)


def aligned(length: int) -> int:
    """Where a section may begin: there, or next behind it."""
    return -(-length // _ALIGNMENT) * _ALIGNMENT
