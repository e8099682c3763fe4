"""From a step to its header and the arrays of its payload. Runs on rank 0's host, in numpy, while the device works."""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from pagelet_engine.core.step import Segment, Step
from pagelet_engine.worker.device.header import Header
from pagelet_engine.worker.device.sections import Sections, copies_within

IntArray = npt.NDArray[np.int32]

LAST_DRAWN = -1
"""Instead of a token: the last one that was drawn for its slot."""
PADDING = -1
"""Instead of a slot."""


def decodes_first(step: Step) -> Step:
    """The same step, its segments of one token before all others: attention computes them apart."""
    in_order = sorted(step.segments, key=_is_chunk)
    return replace(step, segments=tuple(in_order))


def _is_chunk(segment: Segment) -> bool:
    return segment.num_tokens > 1


def make_header(
    step: Step, num_prompt_rows: int, graph_sizes: Sequence[int], num_groups: int, max_prompt_rows: int
) -> Header:
    """step: its decodes come first. graph_sizes: numbers of sequences for which there is a graph, ascending.
    num_prompt_rows: tokens whose logits are wanted beside the draws; max_prompt_rows: of these at once, at most."""
    segments = step.segments
    longest_query = max((segment.num_tokens for segment in segments), default=0)
    size = 0
    if longest_query == 1 and (place := bisect_left(graph_sizes, len(segments))) < len(graph_sizes):
        size = graph_sizes[place]
    updates = [0] * num_groups
    for segment in segments:
        for update in segment.table_updates:
            updates[update.group] += 1
    return Header(
        step=step.number,
        num_tokens=size or step.num_tokens,
        num_seqs=size or len(segments),
        num_decodes=size or len(segments) - sum(map(_is_chunk, segments)),
        num_draws=sum(segment.samples_token for segment in segments),
        graph=size > 0,
        longest_query=longest_query,
        longest_context=max((segment.start + segment.num_tokens for segment in segments), default=0),
        prompt_rows=tuple(_chunks(num_prompt_rows, max_prompt_rows)),
        updates=tuple(updates),
        copies=step.copies,
    )


def fill(
    sections: Sections[IntArray], header: Header, step: Step, prompt_rows: Sequence[int], adapters: Sequence[int]
) -> None:
    """Write the payload of a step into its sections. prompt_rows: indices of tokens; adapters: one a segment."""
    segments = step.segments
    slots, starts, lengths, draws = (
        np.array([(each.slot, each.start, each.num_tokens, each.samples_token) for each in segments], np.int32)
        .reshape(-1, 4)
        .T
    )
    num_tokens, num_seqs = int(lengths.sum()), len(segments)
    ends = np.cumsum(lengths)
    seq_of_token = np.repeat(np.arange(num_seqs), lengths)

    _put(sections.token_ids, _token_ids(segments, num_tokens), 0)
    positions = np.arange(num_tokens) + (starts - (ends - lengths))[seq_of_token]
    _put(sections.positions, positions, 0)
    _put(sections.token_slots, slots[seq_of_token], PADDING)
    sections.cu_query_lens[0] = 0
    _put(sections.cu_query_lens[1:], ends, num_tokens)
    _put(sections.seq_lens, starts + lengths, 0)
    _put(sections.seq_slots, slots, 0)
    _put(sections.adapter_slots, np.array(adapters, np.int32), 0)
    drawing = draws.astype(bool)
    sections.draw_rows[:] = ends[drawing] - 1
    sections.draw_slots[:] = slots[drawing]

    updates: list[list[tuple[int, int, int]]] = [[] for _ in header.updates]
    for segment in segments:
        for group, index, block in ((each.group, each.index, each.block) for each in segment.table_updates):
            updates[group].append((segment.slot, index, block))
    for section, entries in zip(sections.updates, updates, strict=True):
        section[:] = np.array(entries, np.int32).reshape(-1, 3)
    for group, section in enumerate(sections.copies):
        section[:] = np.array(copies_within(header, group), np.int32).reshape(-1, 2)
    sections.prompt_rows[:] = prompt_rows


def _token_ids(segments: Sequence[Segment], num_tokens: int) -> IntArray:
    if num_tokens == len(segments) and not any(segment.tokens for segment in segments):
        return np.full(num_tokens, LAST_DRAWN, np.int32)
    ids = [token for segment in segments for token in segment.tokens or (LAST_DRAWN,)]
    return np.array(ids, np.int32)


def _put(section: IntArray, values: npt.NDArray[np.integer], padding: int) -> None:
    section[: len(values)] = values
    section[len(values) :] = padding


def _chunks(count: int, most: int) -> list[int]:
    """`count` in parts of at most `most`."""
    whole, rest = divmod(count, most)
    return [most] * whole + [rest] * (rest > 0)
