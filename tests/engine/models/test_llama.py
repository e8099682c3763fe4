"""Llama against transformers: every logit of every position, and greedy tokens."""

import json
import math
from itertools import count

import pytest
import torch
from pagelet_api.config import EngineConfig
from pagelet_api.sizes import ModelConfigError, ModelShape, parameter_count
from pagelet_engine.core.sampling import SamplingParams
from pagelet_engine.core.step import Segment, SlotStart, TableUpdate
from pagelet_engine.layers.reference import ReferenceBackend
from pagelet_engine.models.registry import build_model
from pagelet_engine.worker.local.loading import LoadedModel, load_model
from pagelet_engine.worker.local.slots import Slots

BLOCK_SIZE = 4
LLAMA3_ROPE = {
    "rope_type": "llama3",
    "rope_theta": 5000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}
VARIANTS = {
    "grouped heads": {},
    "one KV head": {"num_key_value_heads": 1},
    "as many KV heads as heads": {"num_key_value_heads": 6},
    "tied": {"tie_word_embeddings": True},
    "head size of its own": {"head_dim": 20},
    "biases": {"attention_bias": True, "mlp_bias": True},
    "another epsilon": {"rms_norm_eps": 1e-2},
    "linear rope": {"rope_parameters": {"rope_type": "linear", "rope_theta": 1000.0, "factor": 2.5}},
    "llama3 rope": {"rope_parameters": LLAMA3_ROPE},
}


def load(folder, dtype="float32") -> LoadedModel:
    config = EngineConfig(model_name="tiny", dtype=dtype, block_size=BLOCK_SIZE, kv_cache_bytes=1 << 20, device="cpu")
    return load_model(folder, config)


@torch.inference_mode()
def logits_of(loaded: LoadedModel, sequences: list[list[int]]) -> list[torch.Tensor]:
    """Logits of all positions, (tokens, vocab) each, computed in one step."""
    lengths = [len(tokens) for tokens in sequences]
    slots = Slots(sum(lengths), loaded.facts.vocab_size, 64, 1, torch.device("cpu"))
    execution = loaded.execution(slots)
    segments, blocks = [], count()
    for slot, tokens in enumerate(sequences):
        slots.start(SlotStart(slot, 0, SamplingParams(), tuple(tokens)))
        updates = tuple(TableUpdate(0, index, next(blocks)) for index in range(math.ceil(len(tokens) / BLOCK_SIZE)))
        segments.append(Segment(slot, slot, 0, len(tokens), tuple(tokens), updates))
        slots.update_tables(segments[-1])
    execution.run(segments, range(sum(lengths)), wants_logits=True)
    return list(torch.split(execution.logits(), lengths))


def prompts(*lengths: int) -> list[list[int]]:
    generator = torch.Generator().manual_seed(7)
    return [torch.randint(0, 199, (length,), generator=generator).tolist() for length in lengths]


@pytest.mark.parametrize("fields", VARIANTS.values(), ids=VARIANTS.keys())
def test_every_logit_is_that_of_transformers(tiny_llama, fields):
    tiny = tiny_llama(**fields)
    sequences = prompts(1, 50, 13, 120)
    for tokens, found in zip(sequences, logits_of(load(tiny.folder), sequences), strict=True):
        torch.testing.assert_close(found, tiny.logits(tokens), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("fields", VARIANTS.values(), ids=VARIANTS.keys())
def test_greedy_tokens_are_those_of_transformers(tiny_llama, fields):
    tiny = tiny_llama(**fields)
    loaded, (tokens,) = load(tiny.folder), prompts(9)
    found: list[int] = []
    for _ in range(12):
        (logits,) = logits_of(loaded, [tokens + found])
        found.append(int(logits[-1].argmax()))
    assert found == tiny.greedy(tokens, 12)


@torch.inference_mode()
def test_bfloat16_strays_from_fp32_no_further_than_transformers_own(tiny_llama):
    tiny = tiny_llama(save_dtype=torch.bfloat16)
    sequences = prompts(60, 25)
    half = type(tiny.reference)(tiny.reference.config).to(torch.bfloat16)
    half.load_state_dict(tiny.reference.state_dict())
    own, theirs = 0.0, 0.0
    for tokens, found in zip(sequences, logits_of(load(tiny.folder, "auto"), sequences), strict=True):
        exact = tiny.logits(tokens)
        own += float((found - exact).square().mean())
        theirs += float((half(torch.tensor([tokens])).logits[0].float() - exact).square().mean())
    assert own**0.5 <= 1.5 * theirs**0.5


@pytest.mark.parametrize("fields", VARIANTS.values(), ids=VARIANTS.keys())
def test_parameters_are_as_many_as_the_sizes_say(tiny_llama, fields):
    tiny = tiny_llama(**fields)
    config = json.loads((tiny.folder / "config.json").read_text())
    shape = ModelShape.from_config(config)
    model = build_model(shape, config, ReferenceBackend(torch.float32, torch.device("meta")))
    assert sum(parameter.numel() for parameter in model.parameters()) == parameter_count(shape)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"architectures": ["MambaForCausalLM"]}, "MambaForCausalLM.*LlamaForCausalLM"),
        ({"hidden_act": "gelu"}, "hidden_act.*gelu"),
        ({"rope_parameters": {"rope_type": "yarn", "rope_theta": 1e4}}, "yarn.*default, linear, llama3"),
        ({"rope_parameters": {"rope_type": "llama3", "rope_theta": 1e4}}, "factor"),
        ({"rope_parameters": LLAMA3_ROPE | {"high_freq_factor": 1.0}}, "high_freq_factor"),
        ({"rope_parameters": {"rope_theta": -1}}, "rope_theta"),
        ({"rope_parameters": {"rope_theta": 1e4, "partial_rotary_factor": 0.5}}, "partial_rotary_factor"),
        ({"quantization_config": {"quant_method": "gptq"}}, "gptq"),
    ],
)
def test_refuses_by_name_what_it_cannot_compute(tiny_llama, change, named):
    config = json.loads((tiny_llama().folder / "config.json").read_text()) | change
    with pytest.raises(ModelConfigError, match=named):
        build_model(ModelShape.from_config(config), config, ReferenceBackend(torch.float32, torch.device("meta")))
