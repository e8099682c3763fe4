"""Every architecture against transformers, on one rank and on several: every logit of every position, greedy tokens."""

import json
import shutil
from typing import Any, NamedTuple

import pytest
import torch
from pagelet_api.sizes import ModelConfigError, ModelShape, parameter_count
from pagelet_engine.layers.reference import ReferenceBackend
from pagelet_engine.models.registry import ARCHITECTURES, build_model

from tests.engine.models.spread import SpreadModel

LOCAL, WHOLE = "sliding_attention", "full_attention"


class Family(NamedTuple):
    architecture: str
    fields: dict[str, Any]
    windows: tuple[int | None, ...] = (None, None, None)


LOCAL_AND_GLOBAL_ROPE = {
    LOCAL: {"rope_type": "default", "rope_theta": 500.0},
    WHOLE: {"rope_type": "linear", "factor": 4.0, "rope_theta": 9000.0},
}
FAMILIES = {
    "Mistral": Family("MistralForCausalLM", {"sliding_window": 20}, (20,) * 3),
    "Mistral, no window, a head size of its own": Family(
        "MistralForCausalLM", {"sliding_window": None, "head_dim": 20, "tie_word_embeddings": True}
    ),
    "Qwen2": Family("Qwen2ForCausalLM", {}),
    "Qwen2, windows in late layers": Family(
        "Qwen2ForCausalLM",
        {"use_sliding_window": True, "sliding_window": 17, "max_window_layers": 1},
        (None, 17, 17),
    ),
    "Qwen2, windows by layer type": Family(
        "Qwen2ForCausalLM",
        {"use_sliding_window": True, "sliding_window": 9, "layer_types": [LOCAL, WHOLE, LOCAL]},
        (9, None, 9),
    ),
    "Qwen3": Family("Qwen3ForCausalLM", {"head_dim": 20, "tie_word_embeddings": True}),
    "Qwen3, biases, windows, another epsilon": Family(
        "Qwen3ForCausalLM",
        {
            "head_dim": 8,
            "attention_bias": True,
            "use_sliding_window": True,
            "sliding_window": 11,
            "max_window_layers": 2,
            "rms_norm_eps": 1e-2,
        },
        (None, None, 11),
    ),
    "Mixtral": Family("MixtralForCausalLM", {"num_local_experts": 5}),
    "Mixtral, a window, three experts a token": Family(
        "MixtralForCausalLM", {"num_local_experts": 4, "num_experts_per_tok": 3, "sliding_window": 15}, (15,) * 3
    ),
    "Qwen3-MoE": Family("Qwen3MoeForCausalLM", {"norm_topk_prob": True}),
    "Qwen3-MoE, a dense layer, other weights": Family(
        "Qwen3MoeForCausalLM", {"mlp_only_layers": [1], "head_dim": 12, "attention_bias": True}
    ),
    "Qwen3-MoE, experts in every other layer, a window": Family(
        "Qwen3MoeForCausalLM",
        {"decoder_sparse_step": 2, "use_sliding_window": True, "sliding_window": 13},
        (13,) * 3,
    ),
    "Gemma 3": Family("Gemma3ForCausalLM", {"sliding_window": 14}, (14,) * 3),
    "Gemma 3, global layers with angles of their own": Family(
        "Gemma3ForCausalLM",
        {
            "sliding_window": 10,
            "layer_types": [LOCAL, WHOLE, LOCAL],
            "rope_parameters": LOCAL_AND_GLOBAL_ROPE,
            "query_pre_attn_scalar": 30,
        },
        (10, None, 10),
    ),
    "Gemma 3, capped, untied, with biases": Family(
        "Gemma3ForCausalLM",
        {
            "sliding_window": 10,
            "layer_types": [WHOLE, LOCAL, WHOLE],
            "attn_logit_softcapping": 2.0,
            "final_logit_softcapping": 3.0,
            "tie_word_embeddings": False,
            "attention_bias": True,
        },
        (None, 10, None),
    ),
}
EVERY_FAMILY = pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES.keys())
SPREAD = {"num_attention_heads": 8, "num_key_value_heads": 2}
"""Over four ranks, each KV head is held twice; a vocabulary of 199 leaves the last rank with a row too many."""


def close(found: list[torch.Tensor], wanted: list[torch.Tensor], atol: float = 1e-5) -> None:
    for ours, theirs in zip(found, wanted, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=atol)


def prompts(*lengths: int) -> list[list[int]]:
    generator = torch.Generator().manual_seed(7)
    return [torch.randint(0, 199, (length,), generator=generator).tolist() for length in lengths]


def test_every_architecture_is_tested():
    assert {family.architecture for family in FAMILIES.values()} | {"LlamaForCausalLM"} == set(ARCHITECTURES)


@EVERY_FAMILY
def test_every_logit_is_that_of_transformers(tiny_model, family):
    tiny = tiny_model(family.architecture, **family.fields)
    sequences = prompts(1, 50, 13, 90)
    close(SpreadModel(tiny.folder).logits(sequences), [tiny.logits(tokens) for tokens in sequences])


@EVERY_FAMILY
def test_chunks_never_look_at_blocks_behind_the_window(tiny_model, family):
    tiny = tiny_model(family.architecture, **family.fields)
    sequences = prompts(3, 50, 71)
    close(SpreadModel(tiny.folder).logits(sequences, chunk=7), [tiny.logits(tokens) for tokens in sequences])


@EVERY_FAMILY
def test_greedy_tokens_are_those_of_transformers(tiny_model, family):
    tiny, (prompt,) = tiny_model(family.architecture, **family.fields), prompts(25)
    assert SpreadModel(tiny.folder).greedy(prompt, 12) == tiny.greedy(prompt, 12)


@pytest.mark.parametrize("size", [2, 4])
@EVERY_FAMILY
def test_ranks_together_find_the_logits_of_one(tiny_model, family, size):
    tiny = tiny_model(family.architecture, **SPREAD | family.fields)
    sequences, (prompt,) = prompts(1, 30, 45), prompts(11)
    close(SpreadModel(tiny.folder, size).logits(sequences, chunk=16), SpreadModel(tiny.folder).logits(sequences))
    assert SpreadModel(tiny.folder, size).greedy(prompt, 6) == tiny.greedy(prompt, 6)


@EVERY_FAMILY
def test_shape_says_how_many_parameters_there_are_and_how_far_each_layer_looks(tiny_model, family):
    tiny = tiny_model(family.architecture, **family.fields)
    config = json.loads((tiny.folder / "config.json").read_text())
    shape = ModelShape.from_config(config)
    model = build_model(shape, config, ReferenceBackend(torch.float32, torch.device("meta")))
    held = sum(parameter.numel() for parameter in model.parameters())
    assert held == parameter_count(shape) == tiny.reference.num_parameters()
    assert shape.windows == family.windows


def test_gemma_rope_and_layers_are_read_as_transformers_4_wrote_them(tiny_model, tmp_path):
    family = FAMILIES["Gemma 3, global layers with angles of their own"]
    tiny, (tokens,) = tiny_model(family.architecture, **family.fields), prompts(40)
    folder = shutil.copytree(tiny.folder, tmp_path / "old")
    config = json.loads((folder / "config.json").read_text())
    del config["rope_parameters"], config["layer_types"]
    old = {
        "sliding_window_pattern": 2,
        "rope_theta": 9000.0,
        "rope_local_base_freq": 500.0,
        "rope_scaling": {"rope_type": "linear", "factor": 4.0},
    }
    (folder / "config.json").write_text(json.dumps(config | old))
    close(SpreadModel(folder).logits([tokens]), [tiny.logits(tokens)])


REFUSED = {
    "Gemma, both ways": ("Gemma3ForCausalLM", {"use_bidirectional_attention": True}, "use_bidirectional_attention"),
    "Gemma, another activation": ("Gemma3ForCausalLM", {"hidden_activation": "gelu"}, "hidden_activation.*'gelu'"),
    "Gemma, no window": ("Gemma3ForCausalLM", {"sliding_window": None}, "sliding_window: wanted a positive"),
    "Gemma, a cap below zero": ("Gemma3ForCausalLM", {"final_logit_softcapping": -3}, "final_logit_softcapping"),
    "Gemma, strange layers": ("Gemma3ForCausalLM", {"layer_types": ["chunked_attention"] * 3}, "layer_types: wanted 3"),
    "Mistral, mixed layers": ("MistralForCausalLM", {"layer_types": [LOCAL, WHOLE, LOCAL]}, "layer_types.*every layer"),
    "Mistral, another activation": ("MistralForCausalLM", {"hidden_act": "gelu"}, "hidden_act"),
    "Qwen2, windows switched off": ("Qwen2ForCausalLM", {"layer_types": [LOCAL] * 3}, "sliding_window"),
    "Qwen3, YaRN": ("Qwen3ForCausalLM", {"rope_parameters": {"rope_type": "yarn", "rope_theta": 1e4}}, "yarn.*linear"),
    "Mixtral, more experts than there are": ("MixtralForCausalLM", {"num_experts_per_tok": 9}, "more than the"),
    "Qwen3-MoE, no such layer": ("Qwen3MoeForCausalLM", {"mlp_only_layers": [3]}, "mlp_only_layers: wanted a list"),
    "Qwen3-MoE, weights of what kind": ("Qwen3MoeForCausalLM", {"norm_topk_prob": "yes"}, "norm_topk_prob"),
}


@pytest.mark.parametrize(("architecture", "change", "named"), REFUSED.values(), ids=REFUSED.keys())
def test_refuses_by_name_what_it_cannot_compute(tiny_model, architecture, change, named):
    config = json.loads((tiny_model(architecture).folder / "config.json").read_text()) | change
    with pytest.raises(ModelConfigError, match=named):
        build_model(ModelShape.from_config(config), config, ReferenceBackend(torch.float32, torch.device("meta")))


def test_a_number_of_ranks_that_leaves_something_over_is_refused_with_the_sum(tiny_model):
    tiny = tiny_model("MistralForCausalLM")
    with pytest.raises(ModelConfigError, match=r"tensorParallelSize: 6 attention heads, 2 KV heads.* 6 = 1 × 4 [+] 2"):
        SpreadModel(tiny.folder, 4)
