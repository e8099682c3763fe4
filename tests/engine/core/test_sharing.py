"""Blocks that several samples read: prefixes found in the cache, and the n samples of one request."""

import pytest

from .rig import Rig

DEPTHS = pytest.mark.parametrize("depth", [1, 2])
PROMPT = tuple(range(12))


# ---- the prefix cache ----------------------------------------------------------------------------------------------


def test_a_prompt_heard_before_is_computed_from_its_last_block_on():
    rig = Rig(block_size=4)
    for name in ("first", "again"):
        rig.add(name, (*PROMPT, 50), max_tokens=2)
        rig.drain()
    assert rig.segments_of(1)[0].start == 12
    assert rig.reports["again"].cached_tokens == 12
    assert (rig.engine.load().prefix_queries, rig.engine.load().prefix_hits) == (26, 12)


def test_at_least_one_token_of_a_prompt_is_computed():
    rig = Rig(block_size=4)
    for name in ("first", "again"):
        rig.add(name, PROMPT, max_tokens=2)
        rig.drain()
    assert rig.reports["again"].cached_tokens == 8


def test_a_conversation_finds_its_earlier_turns_answers_included():
    rig = Rig(block_size=4)
    rig.add("turn 1", PROMPT, max_tokens=9)
    rig.drain()
    rig.add("turn 2", (*PROMPT, *rig.answers["turn 1", 0], 50), max_tokens=1)
    rig.drain()
    assert rig.reports["turn 2"].cached_tokens == 20, "the last token drawn was never computed"


@pytest.mark.parametrize("other", [{"cache_salt": "tenant"}, {"adapter": "poet"}])
def test_nothing_is_found_under_another_salt_or_adapter(other):
    rig = Rig(block_size=4)
    rig.add("first", PROMPT, max_tokens=1)
    rig.drain()
    rig.add("other", PROMPT, max_tokens=1, **other)
    rig.drain()
    assert rig.reports["other"].cached_tokens == 0


@DEPTHS
def test_a_block_is_found_when_the_step_that_computes_it_has_ended_and_not_before(depth):
    rig = Rig(depth=depth, block_size=4, max_batched_tokens=8)
    rig.add("first", PROMPT, max_tokens=1)
    rig.add("right behind", PROMPT, max_tokens=1)
    rig.drain()
    assert rig.reports["right behind"].cached_tokens == 8
    own = [step.number for step in rig.worker.submitted for segment in step.segments if segment.sample == 1]
    assert own[0] == 1 + depth, "step 1 computes the block"


def test_without_prefix_caching_nothing_is_found_or_counted():
    rig = Rig(block_size=4, prefix_caching=False)
    for name in ("first", "again"):
        rig.add(name, PROMPT, max_tokens=1)
        rig.drain()
    load = rig.engine.load()
    assert rig.reports["again"].cached_tokens == 0
    assert (load.prefix_queries, load.prefix_hits, load.blocks_cached) == (0, 0, 0)


def test_prompt_logprobs_are_computed_although_the_prompt_is_cached():
    rig = Rig(block_size=4, max_batched_tokens=5)
    rig.add("first", PROMPT, max_tokens=1)
    rig.drain()
    rig.add("asks", PROMPT, n=2, max_tokens=3, prompt_logprobs=0)
    rig.drain()
    report = rig.reports["asks"]
    assert report.cached_tokens == 0
    assert [logprob and logprob.token for logprob in report.logprobs] == [None, *PROMPT[1:]]


def test_prompt_logprobs_survive_the_sample_that_computed_them():
    rig = Rig(depth=2, max_batched_tokens=5)
    rig.add("asks", PROMPT, n=2, max_tokens=3, prompt_logprobs=0)
    rig.steps(2)  # the prompt's last piece is in flight, and the second sample goes on from it
    rig.engine.abort("asks", (0,))
    rig.drain()
    assert [logprob and logprob.token for logprob in rig.reports["asks"].logprobs] == [None, *PROMPT[1:]]


# ---- n samples -----------------------------------------------------------------------------------------------------


@DEPTHS
@pytest.mark.parametrize("prompt_length", range(1, 14))
def test_samples_share_their_prompt_at_every_distance_from_a_block_border(depth, prompt_length):
    rig = Rig(depth=depth, block_size=4)
    rig.add("a", prompt_length, n=3, max_tokens=9)
    rig.drain()
    assert [rig.answers["a", index] for index in range(3)] == [rig.alone("a", index) for index in range(3)]
    assert [rig.segments_of(sample)[0].start for sample in range(3)] == [0, prompt_length - 1, prompt_length - 1]


def test_samples_differ_and_greedy_ones_do_not():
    rig = Rig()
    rig.add("warm", 6, n=2, max_tokens=9, temperature=1.0)
    rig.add("greedy", 6, n=2, max_tokens=9, temperature=0.0)
    rig.drain()
    assert rig.answers["warm", 0] != rig.answers["warm", 1]
    assert rig.answers["greedy", 0] == rig.answers["greedy", 1]


def test_full_blocks_are_held_once_and_the_last_one_is_copied_for_each():
    rig = Rig(block_size=4)
    rig.add("a", 10, n=3, max_tokens=3)
    rig.steps(2)
    assert len(rig.last_step.copies) == 2
    assert rig.engine.load().blocks_in_use == 2 + 3


def test_a_prompt_is_looked_up_once_for_all_samples():
    rig = Rig()
    rig.add("a", 10, n=3, max_tokens=2)
    rig.drain()
    assert rig.engine.load().prefix_queries == 10


def test_samples_fork_in_the_step_after_the_prompts_last_piece():
    rig = Rig(max_batched_tokens=5)
    rig.add("a", 12, n=2, max_tokens=4)
    rig.steps(4)
    assert [[segment.sample for segment in step.segments] for step in rig.worker.submitted] == [[0], [0], [0], [0, 1]]


def test_samples_that_wait_for_their_prompt_do_not_hold_up_other_requests():
    rig = Rig()
    rig.add("a", 6, n=2)
    rig.add("b", 6)
    rig.step()
    assert [segment.sample for segment in rig.last_step.segments] == [0, 2]


def test_a_sample_takes_over_the_prompt_when_the_first_is_aborted_before_it_has_one():
    rig = Rig(max_batched_tokens=5)
    rig.add("a", 12, n=2, max_tokens=4)
    rig.step()
    rig.engine.abort("a", (0,))
    rig.drain()
    assert rig.answers["a", 1] == rig.alone("a", 1)


@pytest.mark.parametrize("prefix_caching", [True, False])
@DEPTHS
def test_samples_that_do_not_fit_together_run_a_few_at_a_time(depth, prefix_caching):
    rig = Rig(depth=depth, num_blocks=4, block_size=4, prefix_caching=prefix_caching)
    rig.add("a", 7, n=5, max_tokens=9)
    rig.drain()
    assert [rig.answers["a", index] for index in range(5)] == [rig.alone("a", index) for index in range(5)]


@DEPTHS
def test_samples_get_along_with_one_slot(depth):
    rig = Rig(depth=depth, max_num_seqs=1)
    rig.add("a", 7, n=3, max_tokens=5)
    rig.drain()
    assert [rig.answers["a", index] for index in range(3)] == [rig.alone("a", index) for index in range(3)]


def test_two_kv_groups_keep_tables_of_their_own():
    rig = Rig(num_kv_groups=2, num_blocks=8, block_size=2)
    for name in ("a", "b"):
        rig.add(name, PROMPT[:5], n=2, max_tokens=6)
    rig.drain()
    groups = {update.group for segment in rig.segments_of(0) for update in segment.table_updates}
    assert groups == {0, 1}
    assert rig.reports["b"].cached_tokens == 4 or rig.engine.load().preemptions
