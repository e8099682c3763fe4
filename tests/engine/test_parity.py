"""The real model, through the whole engine core, against transformers in fp32.

Every token must be the one that transformers finds likeliest after the same tokens, or nearly so: where its two best
logits are closer than 1e-3, either is right, and the comparison goes on behind the token that we took. So transformers
runs once a sequence, over prompt and output together.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from pagelet_api.config import EngineConfig
from pagelet_engine.core.engine import EngineCore
from pagelet_engine.core.load import LoadSnapshot
from pagelet_engine.core.request import Request
from pagelet_engine.core.sampling import SamplingParams
from pagelet_engine.core.scheduler import Scheduler
from pagelet_engine.core.step import Segment, SlotStart, TableUpdate
from pagelet_engine.worker.loaded import LoadedWorker
from pagelet_engine.worker.loading import load_worker
from pagelet_engine.worker.local.loading import load_model
from pagelet_engine.worker.local.slots import Slots

pytestmark = [pytest.mark.model, pytest.mark.timeout(900)]

OUTPUT_TOKENS = 64
NEAR_TIE = 1e-3
BLOCK_SIZE = 16
SYSTEM = "You are a careful assistant who answers briefly, in plain words, and never invents what you do not know."
QUESTIONS = [
    "What is the capital of France?",
    "Explain why the sky is blue.",
    "Write a short poem about the sea.",
    "Give me three tips for staying healthy.",
    "What is 12 times 7?",
    "Translate 'good morning' into Spanish.",
    "Write a Python function that adds two numbers.",
    "Who wrote Romeo and Juliet?",
    "How do I boil an egg?",
    "Name four planets.",
    "What does a compiler do?",
    "Tell me a story about a fox and a well, with a lesson at its end that a small child would understand.",
    "Why do leaves fall in autumn?",
    "Hi!",
    "List the days of the week.",
    "What is the difference between weather and climate?",
    "Describe the taste of an apple to somebody who has never eaten one.",
    "How many legs has a spider?",
    "Give me a recipe for pancakes.",
    "What is photosynthesis?",
    "Suggest a name for a bakery.",
    "Écris une phrase en français.",
    "What would happen if the moon disappeared tonight? Think of the tides, of animals, and of people.",
    "Say nothing but yes.",
]


@pytest.fixture(scope="module")
def prompts(smollm2: Path) -> list[list[int]]:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(smollm2)

    def tokens(question: str) -> list[int]:
        chat = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": question}]
        text = tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
        return tokenizer(text, add_special_tokens=False)["input_ids"]

    return [tokens(question) for question in QUESTIONS]


@dataclass
class Reference:
    """transformers in fp32, and what it has judged."""

    model: Any
    verdicts: dict[tuple[int, ...], tuple[bool, bool]]

    @torch.inference_mode()
    def logits(self, tokens: Sequence[int]) -> torch.Tensor:
        return self.model(torch.tensor([list(tokens)])).logits[0]

    def judge(self, prompt: Sequence[int], output: Sequence[int]) -> tuple[bool, bool]:
        """Whether every token is the likeliest; whether every token is, near-ties granted."""
        key = (*prompt, *output)
        if key not in self.verdicts:
            logits = self.logits(key[:-1])[len(prompt) - 1 :]
            best = logits.topk(2)
            same = best.indices[:, 0] == torch.tensor(output)
            second = best.indices[:, 1] == torch.tensor(output)
            near = second & (best.values[:, 0] - best.values[:, 1] < NEAR_TIE)
            self.verdicts[key] = bool(same.all()), bool((same | near).all())
        return self.verdicts[key]


@pytest.fixture(scope="module")
def reference(smollm2: Path) -> Reference:
    from transformers import AutoModelForCausalLM

    return Reference(AutoModelForCausalLM.from_pretrained(smollm2, dtype=torch.float32).eval(), {})


@pytest.fixture(scope="module")
def loaded(smollm2: Path) -> LoadedWorker:
    config = EngineConfig(
        model_name="smollm2", device="cpu", dtype="float32", block_size=BLOCK_SIZE, kv_cache_bytes=512 << 20
    )
    return load_worker(smollm2, config)


def generate(
    loaded: LoadedWorker,
    prompts: Sequence[Sequence[int]],
    *,
    num_blocks: int = 0,
    max_batched_tokens: int = 2048,
    prefix_caching: bool = False,
) -> tuple[list[list[int]], LoadSnapshot]:
    """Greedy outputs of prompts that arrive together, and the load afterwards."""
    scheduler = Scheduler(
        num_blocks=num_blocks or loaded.num_blocks,
        block_size=BLOCK_SIZE,
        max_model_len=loaded.model.max_model_len,
        max_batched_tokens=max_batched_tokens,
        max_num_seqs=64,
        max_queued=64,
        prefix_caching=prefix_caching,
    )
    core = EngineCore(scheduler, loaded.worker, depth=1)
    outputs: dict[str, list[int]] = {}
    for number, prompt in enumerate(prompts):
        outputs[str(number)] = []
        core.add(Request(str(number), tuple(prompt), SamplingParams(temperature=0, max_tokens=OUTPUT_TOKENS)))
    while core.has_work:
        for update in core.step():
            for sample in update.samples:
                outputs[update.request_id].extend(sample.tokens)
        core.check()
    return list(outputs.values()), core.load()


def assert_parity(reference: Reference, prompts: Sequence[Sequence[int]], outputs: Sequence[Sequence[int]]) -> None:
    assert [len(output) for output in outputs] == [OUTPUT_TOKENS] * len(prompts)
    verdicts = [reference.judge(prompt, output) for prompt, output in zip(prompts, outputs, strict=True)]
    wrong = [QUESTIONS[number] for number, (_, granted) in enumerate(verdicts) if not granted]
    assert not wrong, f"tokens that transformers finds clearly less likely, after: {wrong}"
    assert sum(whole for whole, _ in verdicts) >= len(prompts) - 2


def test_alone_every_prompt_gets_the_tokens_of_transformers(loaded, prompts, reference):
    assert_parity(reference, prompts, [generate(loaded, [prompt])[0][0] for prompt in prompts])


def test_all_in_one_batch(loaded, prompts, reference):
    outputs, _ = generate(loaded, prompts)
    assert_parity(reference, prompts, outputs)


@pytest.mark.parametrize("max_batched_tokens", [37, 101])
def test_with_prompts_cut_at_odd_places(loaded, prompts, reference, max_batched_tokens):
    outputs, _ = generate(loaded, prompts, max_batched_tokens=max_batched_tokens)
    assert_parity(reference, prompts, outputs)


def test_with_a_prefix_found_in_the_cache(loaded, prompts, reference):
    outputs, load = generate(loaded, prompts, prefix_caching=True, max_batched_tokens=256)
    assert load.prefix_hits >= 12 * BLOCK_SIZE  # later prompts find the system message of earlier ones
    assert_parity(reference, prompts, outputs)


def test_after_preemptions(loaded, prompts, reference):
    outputs, load = generate(loaded, prompts, num_blocks=60)
    assert load.preemptions >= 2
    assert_parity(reference, prompts, outputs)


@torch.inference_mode()
def test_bfloat16_strays_no_further_than_transformers_own(smollm2, prompts, reference):
    """Root mean square error of all logits against fp32, at most 1.5 times that of transformers in bfloat16."""
    from transformers import AutoModelForCausalLM

    texts = prompts[:6]
    config = EngineConfig(model_name="smollm2", device="cpu", dtype="bfloat16", kv_cache_bytes=64 << 20)
    ours = load_model(smollm2, config)
    slots = Slots(max(map(len, texts)), ours.facts.vocab_size, 64, 1, torch.device("cpu"))
    execution = ours.execution(slots)
    theirs = AutoModelForCausalLM.from_pretrained(smollm2, dtype=torch.bfloat16).eval()
    own_error, their_error = 0.0, 0.0
    for tokens in texts:
        slots.start(SlotStart(0, 0, SamplingParams(), tuple(tokens)))
        updates = tuple(TableUpdate(0, index, index) for index in range(1 + len(tokens) // config.block_size))
        segment = Segment(0, 0, 0, len(tokens), tuple(tokens), updates)
        slots.update_tables(segment)
        exact = reference.logits(tokens)
        execution.run([segment], range(len(tokens)), wants_logits=True)
        own_error += float((execution.logits() - exact).square().mean())
        their_error += float((theirs(torch.tensor([tokens])).logits[0].float() - exact).square().mean())
    assert own_error**0.5 <= 1.5 * their_error**0.5
