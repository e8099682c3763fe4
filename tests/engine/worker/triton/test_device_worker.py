"""Whole steps of tiny models through Triton's kernels, graphs and the packed sampler: the tokens of transformers, and
those of the worker on a CPU."""

import pytest
import torch
from pagelet_engine.core.sampling import SamplingParams
from pagelet_engine.core.step import BlockCopy, Segment, TableUpdate, Tier

from tests.engine.worker.conftest import Driver
from tests.engine.worker.kinds import load_local
from tests.engine.worker.test_every_worker import EVERYTHING, GREEDY, prompt_of

ARCHITECTURES = {
    "LlamaForCausalLM": {"num_hidden_layers": 2, "head_dim": 16},
    "Qwen3ForCausalLM": {"num_hidden_layers": 1, "head_dim": 16},
    "MixtralForCausalLM": {"num_hidden_layers": 1, "head_dim": 16},
    "Gemma3ForCausalLM": {
        "num_hidden_layers": 2,
        "head_dim": 16,
        "sliding_window": 10,
        "layer_types": ["sliding_attention", "full_attention"],
    },
}

MARKS = {"Qwen3ForCausalLM": pytest.mark.nightly, "MixtralForCausalLM": pytest.mark.nightly}


@pytest.fixture(scope="module")
def llama(tiny_llama):
    return tiny_llama(**ARCHITECTURES["LlamaForCausalLM"])


@pytest.mark.parametrize("architecture", [pytest.param(name, marks=MARKS.get(name, ())) for name in ARCHITECTURES])
def test_greedy_tokens_are_those_of_transformers(tiny_model, drive, architecture):
    tiny, prompt = tiny_model(architecture, **ARCHITECTURES[architecture]), prompt_of(19)
    driver = drive(tiny.folder, num_blocks=16)
    assert driver.generate(0, prompt, GREEDY, 5) == tiny.greedy(prompt, 5)


def test_random_tokens_are_those_of_the_worker_on_a_cpu(llama, drive, monkeypatch):
    prompts = [prompt_of(length, length) for length in (17, 3)]
    driver = drive(llama.folder, num_blocks=16)
    found = [driver.generate(slot, prompt, EVERYTHING, 4) for slot, prompt in enumerate(prompts)]
    assert found == [on_a_cpu(llama, monkeypatch).generate(0, prompt, EVERYTHING, 4) for prompt in prompts]


def test_chunks_and_single_tokens_of_many_samples_go_together(llama, drive):
    """Three samples join one after the other while the first ones decode; the last prompt comes in two chunks."""
    prompts = [prompt_of(length, length) for length in (5, 16, 33)]
    driver, found = drive(llama.folder, num_blocks=16), {0: [], 1: [], 2: []}

    def step(*segments, starts=()):
        for slot, result in driver.step(*segments, starts=starts).items():
            found[slot].extend(result.tokens)

    begin = [driver.start(slot, prompt, GREEDY) for slot, prompt in enumerate(prompts)]
    step(driver.segment(0, prompts[0]), starts=begin[:1])
    step(driver.segment(0), driver.segment(1, prompts[1]), starts=begin[1:2])
    step(
        driver.segment(2, prompts[2][:20], samples_token=False), driver.segment(1), driver.segment(0), starts=begin[2:]
    )
    step(driver.segment(0), driver.segment(2, prompts[2][20:]), driver.segment(1))
    step(driver.segment(2), driver.segment(1), driver.segment(0))
    for slot, tokens in found.items():
        assert tokens == llama.greedy(prompts[slot], len(tokens))


def test_blocks_survive_a_copy_within_the_device_and_in_host_memory(llama, drive):
    driver, prompt = drive(llama.folder, num_blocks=16, host_cache_bytes=1 << 20), prompt_of(20)
    wanted = llama.greedy(prompt, 3)
    driver.generate(0, prompt, GREEDY, 1)
    first, second = driver.tables[0]
    fresh = [driver.free.pop(), driver.free.pop()]
    driver.step(copies=[BlockCopy(0, Tier.DEVICE, first, Tier.HOST, 1)])
    driver.step(copies=[BlockCopy(0, Tier.HOST, 1, Tier.DEVICE, fresh[0])])
    start = driver.start(1, (*prompt, *wanted[:1]), GREEDY)
    updates = tuple(TableUpdate(0, index, block) for index, block in enumerate(fresh))
    segment = Segment(1, 1, 20, 1, (wanted[0],), updates)
    copies = [BlockCopy(0, Tier.DEVICE, second, Tier.DEVICE, fresh[1])]
    assert driver.step(segment, starts=[start], copies=copies)[1].tokens == (wanted[1],)


def test_logprobs_are_those_of_transformers(llama, drive):
    driver, prompt = drive(llama.folder, num_blocks=16), prompt_of(9)
    start = driver.start(0, prompt, SamplingParams(temperature=0, logprobs=2, prompt_logprobs=1))
    (result,) = driver.step(driver.segment(0, prompt), starts=[start]).values()
    wanted = llama.logits(prompt).log_softmax(-1)
    assert result.logprobs[0].top_tokens == tuple(wanted[-1].topk(2).indices.tolist())
    assert [entry.token for entry in result.prompt_logprobs] == prompt[1:]
    for position, entry in enumerate(result.prompt_logprobs):
        assert entry.logprob == pytest.approx(float(wanted[position, entry.token]), abs=1e-3)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="missing: a GPU, whose waits are looked for")
def test_no_step_waits_for_the_device(llama, drive):
    driver, prompt = drive(llama.folder, num_blocks=16), prompt_of(20)
    start = driver.start(0, prompt, EVERYTHING)
    handles = []
    torch.cuda.set_sync_debug_mode("error")
    try:
        handles.append(driver.submit(driver.segment(0, prompt), starts=[start]))
        handles.append(driver.submit(driver.segment(0)))
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert all(handle.result()[0].tokens for handle in handles)


def on_a_cpu(tiny, monkeypatch) -> Driver:
    """A driver of the reference ops, in the same blocks."""
    from pagelet_api.config import EngineConfig

    from tests.engine.worker.conftest import DEFAULTS

    monkeypatch.setenv("PAGELET_CPU_INSTRUCTION_SET", "reference")
    loaded = load_local(tiny.folder, EngineConfig(**DEFAULTS | {"device": "cpu"}))
    return Driver(loaded.worker, 16, list(range(16)))
