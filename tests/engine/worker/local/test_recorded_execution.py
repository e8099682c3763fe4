"""A recorded pass against the same model run eagerly, op by op, and against the reference ops."""

import json
import math
from collections.abc import Sequence

import pytest
import torch
from pagelet_api.config import EngineConfig, Quantization
from pagelet_api.sizes import ModelShape, kv_groups
from pagelet_engine.core.sampling import SamplingParams
from pagelet_engine.core.step import Segment, SlotStart, TableUpdate
from pagelet_engine.kernels.cpu.library import CpuBackendUnavailable, Library
from pagelet_engine.kernels.row_status import RowStatus
from pagelet_engine.layers.cpu import CpuBatch
from pagelet_engine.models.registry import build_model
from pagelet_engine.weights.checkpoint import Checkpoint
from pagelet_engine.weights.loading import load_weights
from pagelet_engine.worker.kv_pool import KvPool
from pagelet_engine.worker.local.backends import LEVEL_ENV, choose_backend
from pagelet_engine.worker.local.loading import LoadedModel, load_model
from pagelet_engine.worker.local.slots import Slots
from pagelet_engine.worker.model_facts import ModelError

from tests.engine.kernels.cpu.conftest import LIBRARY_UNDER_TEST, Sequence_, step_of, usable_levels
from tests.engine.worker.kinds import UNDER_TEST

SHAPES = {
    "grouped heads": {"hidden_size": 96, "intermediate_size": 128},
    "odd sizes": {"hidden_size": 80, "intermediate_size": 50, "num_attention_heads": 5, "num_key_value_heads": 1},
    "tied, with biases": {
        "hidden_size": 96,
        "intermediate_size": 64,
        "tie_word_embeddings": True,
        "attention_bias": True,
        "mlp_bias": True,
    },
    "wide heads": {
        "hidden_size": 64,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 48,
        "intermediate_size": 96,
    },
}


needs_native = pytest.mark.skipif(not usable_levels(), reason="missing: the C++ ops")


def load(folder, dtype: str, quantization: Quantization = Quantization.NONE) -> LoadedModel:
    config = EngineConfig(
        model_name="tiny",
        device="cpu",
        dtype=dtype,
        kv_cache_bytes=1 << 20,
        quantization=quantization,
        max_num_batched_tokens=512,
    )
    loaded = load_model(folder, config, UNDER_TEST)
    for pages in loaded.pool.pages:
        pages.fill_(math.nan)
    return loaded


@torch.inference_mode()
def logits_of(loaded: LoadedModel, sequences: Sequence[Sequence[int]]) -> torch.Tensor:
    """(tokens, vocab): all positions of all sequences, in one step."""
    total = sum(map(len, sequences))
    slots = Slots(total, loaded.facts.vocab_size, 64, 1, torch.device("cpu"))
    segments, block = [], 0
    for slot, tokens in enumerate(sequences):
        slots.start(SlotStart(slot, 0, SamplingParams(), tuple(tokens)))
        needed = math.ceil(len(tokens) / 16)
        updates = tuple(TableUpdate(0, index, block + index) for index in range(needed))
        block += needed
        segments.append(Segment(slot, slot, 0, len(tokens), tuple(tokens), updates))
        slots.update_tables(segments[-1])
    execution = loaded.execution(slots)
    execution.run(segments, range(total), wants_logits=True)
    logits = execution.logits().clone()
    likeliest = execution.likeliest()
    assert likeliest.tokens.tolist() == logits.argmax(-1).tolist()
    assert (likeliest.status == RowStatus.SAMPLED).all()
    rows = [total - 1, 0]
    assert torch.equal(execution.logits_of(rows), logits[rows])
    return logits


def prompts(*lengths: int) -> list[list[int]]:
    generator = torch.Generator().manual_seed(7)
    return [torch.randint(0, 199, (length,), generator=generator).tolist() for length in lengths]


@needs_native
@pytest.mark.parametrize("level", usable_levels())
@pytest.mark.parametrize("fields", SHAPES.values(), ids=SHAPES.keys())
def test_every_logit_is_that_of_transformers(tiny_llama, fields, level, monkeypatch):
    monkeypatch.setenv(LEVEL_ENV, level)
    tiny, sequences = tiny_llama(**fields), prompts(1, 50, 17, 200)
    found = logits_of(load(tiny.folder, "float32"), sequences)
    wanted = torch.cat([tiny.logits(tokens) for tokens in sequences])
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)


@needs_native
@pytest.mark.parametrize("level", usable_levels())
def test_bfloat16_strays_no_further_than_transformers_own(tiny_llama, level, monkeypatch):
    monkeypatch.setenv(LEVEL_ENV, level)
    tiny, sequences = tiny_llama(torch.bfloat16, **SHAPES["grouped heads"]), prompts(60, 25)
    half = type(tiny.reference)(tiny.reference.config).to(torch.bfloat16)
    half.load_state_dict(tiny.reference.state_dict())
    exact = torch.cat([tiny.logits(tokens) for tokens in sequences])
    theirs = torch.cat([half(torch.tensor([tokens])).logits[0].float().detach() for tokens in sequences])
    own = logits_of(load(tiny.folder, "bfloat16"), sequences)
    assert (own - exact).square().mean() <= 2.25 * (theirs - exact).square().mean()


@needs_native
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@torch.inference_mode()
def test_a_recorded_pass_is_the_eager_one_bit_by_bit(tiny_llama, dtype):
    folder, sequences = tiny_llama(**SHAPES["tied, with biases"]).folder, prompts(40, 3)
    recorded = logits_of(load(folder, dtype), sequences)

    raw = json.loads((folder / "config.json").read_text())
    shape = ModelShape.from_config(raw)
    backend = choose_backend(getattr(torch, dtype), Quantization.NONE, shape, 16, LIBRARY_UNDER_TEST)
    model = build_model(shape, raw, backend)
    load_weights(Checkpoint(folder), model.load(), model.ignored)
    pool = KvPool(kv_groups(shape), 8, 16, getattr(torch, dtype), torch.device("cpu"))
    pool.pages[0].fill_(math.nan)
    held = step_of([Sequence_(0, 40, (5, 1, 2)), Sequence_(0, 3, (7,))], 16, token_ids=sequences[0] + sequences[1])
    eager = model.logits(model(CpuBatch(held.step, pool.pages, 16)))
    assert torch.equal(eager, recorded)


@needs_native
@pytest.mark.parametrize(("quantization", "most"), [(Quantization.INT8, 0.06), (Quantization.INT4, 0.8)])
def test_quantised_weights_give_nearly_the_same_logits(tiny_llama, quantization, most):
    """Random weights are the hardest: a product strays by 0.7 % (int8) or 9 % (int4), and three layers add that up."""
    folder, sequences = tiny_llama(**SHAPES["grouped heads"]).folder, prompts(30, 100)
    plain = logits_of(load(folder, "float32"), sequences)
    error = logits_of(load(folder, "float32", quantization), sequences) - plain
    assert 0 < error.square().mean().sqrt() <= most * plain.square().mean().sqrt()


@needs_native
def test_an_instruction_set_that_the_cpu_lacks_is_refused(tiny_llama, monkeypatch):
    monkeypatch.setenv(LEVEL_ENV, "sse17")
    with pytest.raises(ModelError, match=r"instruction set: wanted 'sse17', this CPU has .*portable"):
        load(tiny_llama(**SHAPES["grouped heads"]).folder, "float32")


def test_what_the_ops_cannot_compute_goes_to_the_reference_and_is_said(tiny_llama, capsys):
    load(tiny_llama().folder, "float32")
    assert (
        "slow reference ops: the C++ ops want a head_dim that is a multiple of 16, found 8" in capsys.readouterr().err
    )


def test_a_missing_library_says_what_to_do(tmp_path):
    with pytest.raises(CpuBackendUnavailable, match=r"was not built: install a C\+\+ compiler"):
        Library(tmp_path / "libpagelet_cpu.so")
