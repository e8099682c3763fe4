"""Every worker driven by hand-made steps: cut, shared, copied or restarted, a sequence gets the same tokens."""

import pytest
import torch
from pagelet_engine.core.sampling import SamplingParams
from pagelet_engine.core.step import BlockCopy, NoToken, Segment, Step, TableUpdate, Tier
from pagelet_engine.worker.results import StepError

GREEDY = SamplingParams(temperature=0)
EVERYTHING = SamplingParams(
    temperature=0.9,
    top_k=50,
    top_p=0.95,
    min_p=0.01,
    repetition_penalty=1.2,
    presence_penalty=0.3,
    frequency_penalty=0.2,
    logit_bias={5: 1.5},
    seed=11,
)


def prompt_of(length: int, seed: int = 0) -> list[int]:
    return torch.randint(0, 199, (length,), generator=torch.Generator().manual_seed(seed)).tolist()


def test_greedy_tokens_are_those_of_transformers(tiny, drive):
    prompt = prompt_of(21)
    assert drive(tiny.folder).generate(0, prompt, GREEDY, 20) == tiny.greedy(prompt, 20)


@pytest.mark.parametrize("chunk", [1, 3, 4, 7, 20])
def test_a_prompt_in_chunks_gives_what_it_gives_whole(tiny, drive, chunk):
    prompt, driver = prompt_of(21), drive(tiny.folder)
    wanted = driver.generate(0, prompt, EVERYTHING, 12)
    starts, found = [driver.start(1, prompt, EVERYTHING)], []
    for first in range(0, len(prompt), chunk):
        last = first + chunk >= len(prompt)
        result = driver.step(driver.segment(1, prompt[first : first + chunk], samples_token=last), starts=starts)[1]
        assert len(result.tokens) == last
        starts, found = [], list(result.tokens)
    while len(found) < 12:
        found.extend(driver.step(driver.segment(1))[1].tokens)
    assert found == wanted


def test_samples_in_one_batch_get_what_they_get_alone(tiny, drive):
    driver, settings = drive(tiny.folder), [GREEDY, EVERYTHING, SamplingParams(seed=3), GREEDY]
    prompts = [prompt_of(length, length) for length in (1, 17, 30, 8)]
    wanted = [driver.generate(0, prompt, own, 10) for prompt, own in zip(prompts, settings, strict=True)]
    found: list[list[int]] = [[] for _ in prompts]
    for _ in range(14):  # a new one joins each step, while the others decode
        starts, segments = [], []
        joining = next((slot for slot, tokens in enumerate(found) if not tokens), None)
        for slot, tokens in enumerate(found):
            if slot == joining:
                starts.append(driver.start(slot, prompts[slot], settings[slot]))
                segments.append(driver.segment(slot, prompts[slot]))
            elif tokens:
                segments.append(driver.segment(slot))
        for slot, result in driver.step(*reversed(segments), starts=starts).items():
            found[slot].extend(result.tokens)
    assert [tokens[:10] for tokens in found] == wanted


def test_a_shared_prefix_is_read_and_not_computed_again(tiny, drive):
    driver = drive(tiny.folder)
    prefix = prompt_of(3 * driver.block_size)
    prompts = [prefix + prompt_of(5, 1), prefix + prompt_of(2, 2)]
    wanted = [driver.generate(0, prompt, GREEDY, 8) for prompt in prompts]
    first = driver.start(0, prompts[0], GREEDY)
    driver.step(driver.segment(0, prompts[0]), starts=[first])
    second = driver.start(1, prompts[1], GREEDY, prefix=driver.tables[0][:3])
    found = list(driver.step(driver.segment(1, prompts[1][len(prefix) :], new_prefix=3), starts=[second])[1].tokens)
    while len(found) < 8:
        found.extend(driver.step(driver.segment(1), driver.segment(0))[1].tokens)
    assert found == wanted[1]


def test_a_copied_block_holds_all_layers_and_is_its_own_afterwards(tiny, drive):
    """Copy on write: two samples share a prompt whose last block is half full, and then write different tokens."""
    driver = drive(tiny.folder)
    prompt = prompt_of(2 * driver.block_size + 2)
    settings = [SamplingParams(seed=1), SamplingParams(seed=2)]
    wanted = [driver.generate(0, prompt, own, 9) for own in settings]
    assert wanted[0] != wanted[1]
    start = driver.start(0, prompt, settings[0])
    driver.step(driver.segment(0, prompt), starts=[start])
    shared, own = driver.tables[0], driver.free.pop()
    start = driver.start(1, prompt, settings[1])
    driver.tables[1], driver.positions[1] = [*shared[:2], own], len(prompt) - 1
    copy = BlockCopy(0, Tier.DEVICE, shared[2], Tier.DEVICE, own)
    second = driver.segment(1, prompt[-1:], new_prefix=3)
    found: list[list[int]] = [[wanted[0][0]], []]
    for slot, result in driver.step(second, driver.segment(0), starts=[start], copies=[copy]).items():
        found[slot].extend(result.tokens)
    for _ in range(8):
        for slot, result in driver.step(driver.segment(0), driver.segment(1)).items():
            found[slot].extend(result.tokens)
    assert [tokens[:9] for tokens in found] == wanted


@pytest.mark.parametrize("sampling", [GREEDY, EVERYTHING])
def test_a_preempted_sample_goes_on_as_if_nothing_had_happened(tiny, drive, sampling):
    driver, prompt = drive(tiny.folder), prompt_of(9)
    wanted = driver.generate(0, prompt, sampling, 14)
    driver.generate(3, prompt_of(30, 5), EVERYTHING, 3)  # somebody else in the slot that it comes back to
    start = driver.start(3, prompt, sampling, output=wanted[:6])
    found = list(driver.step(driver.segment(3, prompt + wanted[:6]), starts=[start])[3].tokens)
    while len(found) < 8:
        found.extend(driver.step(driver.segment(3))[3].tokens)
    assert found == wanted[6:]


def test_a_slot_forgets_whoever_had_it(tiny, drive):
    fresh, used = drive(tiny.folder), drive(tiny.folder)
    used.generate(0, prompt_of(40, 9), EVERYTHING, 20)
    prompt = prompt_of(6)
    assert used.generate(0, prompt, EVERYTHING, 12) == fresh.generate(0, prompt, EVERYTHING, 12)


def test_samples_of_one_request_differ_by_their_index(tiny, drive):
    driver, prompt, sampling = drive(tiny.folder), prompt_of(6), SamplingParams(seed=1)
    starts = [driver.start(slot, prompt, sampling, sample_index=slot) for slot in range(8)]
    results = driver.step(*(driver.segment(slot, prompt) for slot in range(8)), starts=starts)
    assert len({result.tokens for result in results.values()}) > 3


def test_end_tokens_wait_for_min_tokens(tiny, drive):
    driver, prompt = drive(tiny.folder), prompt_of(6)
    usual = driver.generate(0, prompt, GREEDY, 4)
    sampling = SamplingParams(temperature=0, min_tokens=1, stop_token_ids=frozenset(usual[:1]))
    assert driver.generate(0, prompt, sampling, 1) != usual[:1]
    late = SamplingParams(temperature=0, min_tokens=1, stop_token_ids=frozenset(usual[1:2]) - {usual[0]})
    assert driver.generate(0, prompt, late, 4) == usual


def test_logprobs_are_of_the_raw_distribution_and_for_those_who_asked(tiny, drive):
    prompt = prompt_of(7)
    driver = drive(tiny.folder)
    asking = SamplingParams(temperature=0, logit_bias={17: 100.0}, logprobs=3)
    starts = [driver.start(0, prompt, asking), driver.start(1, prompt, GREEDY)]
    results = driver.step(driver.segment(0, prompt), driver.segment(1, prompt), starts=starts)
    (entry,) = results[0].logprobs
    wanted = tiny.logits(prompt)[-1].log_softmax(-1)
    assert results[0].tokens == (17,)
    assert (entry.token, entry.logprob) == (17, pytest.approx(float(wanted[17]), abs=1e-4))
    assert entry.top_tokens == tuple(wanted.topk(3).indices.tolist())
    assert results[1].logprobs == ()


@pytest.mark.parametrize("chunk", [1, 5, 30])
def test_prompt_logprobs_speak_about_each_following_token_of_the_prompt(tiny, drive, chunk):
    prompt = prompt_of(17)
    driver = drive(tiny.folder)
    starts, entries = [driver.start(0, prompt, SamplingParams(temperature=0, prompt_logprobs=2))], []
    for first in range(0, len(prompt), chunk):
        last = first + chunk >= len(prompt)
        segment = driver.segment(0, prompt[first : first + chunk], samples_token=last)
        entries.extend(driver.step(segment, starts=starts)[0].prompt_logprobs)
        starts = []
    assert driver.step(driver.segment(0))[0].prompt_logprobs == ()
    wanted = tiny.logits(prompt).log_softmax(-1)
    assert [entry.token for entry in entries] == prompt[1:]
    for position, entry in enumerate(entries):
        assert entry.logprob == pytest.approx(float(wanted[position, entry.token]), abs=1e-4)
        assert entry.top_tokens == tuple(wanted[position].topk(2).indices.tolist())


def test_an_error_inside_a_step_is_raised_by_its_result(tiny, drive):
    driver = drive(tiny.folder)
    driver.start(0, prompt_of(3), GREEDY)
    handle = driver.worker.submit(Step(41, (), (), (driver.segment(0, prompt_of(3)),)))  # nobody was seated
    with pytest.raises(StepError, match="step 41 failed: KeyError"):
        handle.result()


def test_logits_that_are_not_numbers_give_no_token_and_harm_nobody_else(tiny, drive):
    """A block table that points at blocks nobody wrote: every logit of this sample becomes NaN."""
    driver = drive(tiny.folder)
    start = driver.start(0, prompt_of(driver.block_size + 1), GREEDY)
    segment = Segment(0, 0, driver.block_size, 1, (7,), (TableUpdate(0, 0, 3), TableUpdate(0, 1, 9)))
    sound = driver.start(1, prompt_of(5), GREEDY)
    beside = Segment(1, 1, 0, 5, prompt_of(5), (TableUpdate(0, 0, 4), TableUpdate(0, 1, 5)))
    results = driver.worker.submit(Step(7, (start, sound), (), (segment, beside))).result()
    assert (results[0].no_token, results[0].tokens) == (NoToken.NON_FINITE, ())
    assert results[1].no_token is None
    assert results[1].tokens == tuple(tiny.greedy(list(prompt_of(5)), 1))


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_sample_whose_own_parameters_exclude_every_token_is_told_apart(tiny, drive, temperature):
    driver, prompt = drive(tiny.folder), prompt_of(5)
    nothing = SamplingParams(temperature=temperature, min_tokens=1, stop_token_ids=frozenset(range(199)))
    starts = [driver.start(0, prompt, nothing), driver.start(1, prompt, GREEDY)]
    results = driver.step(driver.segment(0, prompt), driver.segment(1, prompt), starts=starts)
    assert (results[0].no_token, results[0].tokens) == (NoToken.NOTHING_LEFT, ())
    assert results[1].tokens == tuple(tiny.greedy(prompt, 1))


def test_a_step_may_do_nothing_but_copy(tiny, drive):
    driver = drive(tiny.folder)
    assert driver.step(copies=[BlockCopy(0, Tier.DEVICE, 1, Tier.DEVICE, 2)]) == {}


def test_a_block_survives_in_host_memory(tiny, drive):
    driver = drive(tiny.folder, host_cache_bytes=1 << 20)
    prompt = prompt_of(driver.block_size + 2)
    alone = driver.generate(0, prompt, GREEDY, 6)
    (first, second) = driver.tables[0][:2]
    copies = [BlockCopy(0, Tier.DEVICE, block, Tier.HOST, place) for place, block in enumerate((first, second))]
    driver.step(copies=copies)
    fresh = [driver.free.pop(), driver.free.pop()]
    driver.step(copies=[BlockCopy(0, Tier.HOST, place, Tier.DEVICE, block) for place, block in enumerate(fresh)])
    # The same sample goes on from the copies: its prompt and first token are in them, the second token is known.
    start = driver.start(1, (*prompt, *alone[:1]), GREEDY)
    updates = tuple(TableUpdate(0, index, block) for index, block in enumerate(fresh))
    segment = Segment(1, 1, len(prompt), 1, (alone[0],), updates)
    assert driver.step(segment, starts=[start])[1].tokens == (alone[1],)
