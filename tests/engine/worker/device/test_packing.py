"""What a host packs is what devices and other hosts read."""

from itertools import accumulate

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from pagelet_engine.core.step import BlockCopy, Segment, Step, TableUpdate, Tier
from pagelet_engine.worker.device.header import Header
from pagelet_engine.worker.device.packing import LAST_DRAWN, PADDING, decodes_first, fill, make_header
from pagelet_engine.worker.device.sections import cut, payload_length

NUM_GROUPS, GRAPH_SIZES, MAX_ROWS = 2, (1, 2, 4, 8), 5
small = st.integers(0, 2**31 - 1)
copies = st.builds(
    BlockCopy, st.integers(0, NUM_GROUPS - 1), st.sampled_from(Tier), small, st.sampled_from(Tier), small
)
updates = st.builds(TableUpdate, st.integers(0, NUM_GROUPS - 1), small, small)


@st.composite
def segments(draw: st.DrawFn, slot: int, longest: int) -> Segment:
    num_tokens = draw(st.integers(1, longest))
    names_tokens = num_tokens > 1 or draw(st.booleans())
    tokens = tuple(draw(st.lists(small, min_size=num_tokens, max_size=num_tokens))) if names_tokens else ()
    start, told = draw(st.integers(0, 10**6)), tuple(draw(st.lists(updates, max_size=3)))
    return Segment(slot, slot, start, num_tokens, tokens, told, draw(st.booleans()))


@st.composite
def steps(draw: st.DrawFn) -> Step:
    longest = draw(st.sampled_from([1, 6]))
    own = [draw(segments(slot, longest)) for slot in range(draw(st.integers(0, 11)))]
    return decodes_first(Step(draw(small), (), tuple(draw(st.lists(copies, max_size=4))), tuple(own)))


def packed(step: Step, prompt_rows: list[int]):
    header = make_header(step, len(prompt_rows), GRAPH_SIZES, NUM_GROUPS, MAX_ROWS)
    buffer = np.full(payload_length(header), 7, np.int32)
    adapters = [segment.slot % 3 for segment in step.segments]
    fill(cut(buffer, header), header, step, prompt_rows, adapters)
    return header, cut(torch.from_numpy(buffer), header)


@given(steps(), st.lists(small, max_size=12))
def test_another_host_reads_the_same_header(step, prompt_rows):
    header, _ = packed(step, prompt_rows)
    assert Header.decode(header.encode()) == header
    assert sum(header.prompt_rows) == len(prompt_rows)
    assert all(rows <= MAX_ROWS for rows in header.prompt_rows)


@given(steps(), st.lists(small, max_size=12))
def test_every_token_is_where_its_segment_says(step, prompt_rows):
    _, found = packed(step, prompt_rows)
    real = step.num_tokens
    tokens = [token for each in step.segments for token in each.tokens or (LAST_DRAWN,)]
    places = [(each.start + i, each.slot) for each in step.segments for i in range(each.num_tokens)]
    assert found.token_ids[:real].tolist() == tokens
    assert list(zip(found.positions[:real].tolist(), found.token_slots[:real].tolist(), strict=True)) == places
    assert found.prompt_rows.tolist() == prompt_rows
    ends = list(accumulate(each.num_tokens for each in step.segments))
    drawn = [(end - 1, each.slot) for each, end in zip(step.segments, ends, strict=True) if each.samples_token]
    assert list(zip(found.draw_rows.tolist(), found.draw_slots.tolist(), strict=True)) == drawn


@given(steps())
def test_every_sequence_knows_its_queries_its_length_and_its_slot(step):
    _, found = packed(step, [])
    real = len(step.segments)
    assert found.cu_query_lens.diff()[:real].tolist() == [each.num_tokens for each in step.segments]
    assert found.seq_lens[:real].tolist() == [each.start + each.num_tokens for each in step.segments]
    assert found.seq_slots[:real].tolist() == [each.slot for each in step.segments]
    assert found.adapter_slots[:real].tolist() == [each.slot % 3 for each in step.segments]


@given(steps())
def test_padding_has_no_part_in_anything(step):
    header, found = packed(step, [])
    assert header.graph == (header.longest_query == 1 and len(step.segments) <= max(GRAPH_SIZES))
    assert header.num_seqs in ((*GRAPH_SIZES,) if header.graph else (len(step.segments),))
    real = len(step.segments)
    assert found.token_slots[step.num_tokens :].eq(PADDING).all()
    assert found.cu_query_lens.diff()[real:].eq(0).all()
    assert found.seq_lens[real:].eq(0).all()


@given(steps())
def test_tables_and_copies_go_to_their_groups_in_order(step):
    _, found = packed(step, [])
    for group in range(NUM_GROUPS):
        entries = [
            [segment.slot, each.index, each.block]
            for segment in step.segments
            for each in segment.table_updates
            if each.group == group
        ]
        within = [[each.source, each.destination] for each in step.copies if each.group == group and not each.is_move]
        assert found.updates[group].tolist() == entries
        assert found.copies[group].tolist() == within


@given(steps())
def test_sequences_of_one_token_come_first_and_are_counted(step):
    header, found = packed(step, [])
    one, more = found.cu_query_lens.diff().split([header.num_decodes, header.num_seqs - header.num_decodes])
    assert one.le(1).all()
    assert more.gt(1).all()
