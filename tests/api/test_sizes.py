"""Sizes: the same numbers that transformers finds in the model itself."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pagelet_api.sizes import (
    BYTES_OF_DTYPE,
    KvGroup,
    ModelConfigError,
    ModelShape,
    dtype_bytes,
    kv_bytes_per_token,
    kv_groups,
    num_blocks,
    page_bytes,
    parameter_count,
    resolve_dtype,
    weight_bytes,
)

SMOLLM2_135M = {
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 576,
    "intermediate_size": 1536,
    "max_position_embeddings": 8192,
    "num_attention_heads": 9,
    "num_hidden_layers": 30,
    "num_key_value_heads": 3,
    "tie_word_embeddings": True,
    "torch_dtype": "bfloat16",
    "vocab_size": 49152,
}
LLAMA_2_7B = {
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 4096,
    "intermediate_size": 11008,
    "max_position_embeddings": 4096,
    "num_attention_heads": 32,
    "num_hidden_layers": 32,
    "torch_dtype": "float16",
    "vocab_size": 32000,
}
LLAMA_3_8B = {
    **LLAMA_2_7B,
    "intermediate_size": 14336,
    "max_position_embeddings": 8192,
    "num_key_value_heads": 8,
    "torch_dtype": "bfloat16",
    "vocab_size": 128256,
}
GROUPS = st.builds(
    KvGroup,
    layers=st.integers(1, 40).map(lambda count: tuple(range(count))),
    num_kv_heads=st.integers(1, 16),
    head_dim=st.sampled_from([16, 64, 80, 128]),
    window=st.none() | st.integers(1, 100),
)


@pytest.mark.parametrize(
    ("config", "parameters"),
    [(SMOLLM2_135M, 134_515_008), (LLAMA_2_7B, 6_738_415_616), (LLAMA_3_8B, 8_030_261_248)],
    ids=["SmolLM2-135M", "Llama-2-7B", "Llama-3-8B"],
)
def test_known_models_have_their_published_number_of_parameters(config, parameters):
    shape = ModelShape.from_config(config)
    assert parameter_count(shape) == parameters
    assert weight_bytes(shape, "bfloat16") == 2 * parameters


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"tie_word_embeddings": True},
        {"num_key_value_heads": 1},
        {"num_key_value_heads": None},
        {"head_dim": 10},
        {"attention_bias": True},
        {"mlp_bias": True},
        {"attention_bias": True, "mlp_bias": True, "tie_word_embeddings": True, "head_dim": 6, "num_hidden_layers": 1},
    ],
    ids=str,
)
def test_parameters_are_those_of_the_model_that_transformers_builds(changes):
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    fields = {
        "hidden_size": 32,
        "intermediate_size": 44,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "num_hidden_layers": 3,
        "vocab_size": 101,
        "max_position_embeddings": 64,
    }
    config = LlamaConfig(**{**fields, **changes})
    with torch.device("meta"):
        model = LlamaForCausalLM(config)
    written = {**json.loads(config.to_json_string()), "architectures": ["LlamaForCausalLM"]}
    shape = ModelShape.from_config(written)
    assert parameter_count(shape) == model.num_parameters()
    attention = model.model.layers[0].self_attn
    assert shape.num_kv_heads * shape.head_dim == attention.k_proj.out_features
    assert shape.num_heads * shape.head_dim == attention.q_proj.out_features


def test_smollm2_has_one_group_of_all_layers_and_the_known_bytes_per_token():
    (group,) = kv_groups(ModelShape.from_config(SMOLLM2_135M))
    assert group == KvGroup(tuple(range(30)), num_kv_heads=3, head_dim=64, window=None)
    assert kv_bytes_per_token([group], "bfloat16") == 2 * 30 * 3 * 64 * 2 == 23040
    assert page_bytes(group, 16, "bfloat16") == 16 * 23040


def test_layers_of_one_window_are_one_group():
    """Five local layers to a global one, as in Gemma 3."""
    windows = (512, 512, None, 512, 512, None)
    shape = ModelShape("G", 64, 6, 4, 2, 16, 128, 100, 4096, windows)
    local, whole = kv_groups(shape)
    assert (local.layers, local.window) == ((0, 1, 3, 4), 512)
    assert (whole.layers, whole.window) == ((2, 5), None)
    per_layer = page_bytes(KvGroup((0,), 2, 16), 16, "bfloat16")
    assert page_bytes(local, 16, "bfloat16") + page_bytes(whole, 16, "bfloat16") == 6 * per_layer


@given(
    st.lists(GROUPS, min_size=1, max_size=3),
    st.integers(1, 64),
    st.integers(0, 2**34),
    st.sampled_from([*BYTES_OF_DTYPE]),
)
def test_blocks_of_all_groups_fit_the_pool_and_one_more_of_each_does_not(groups, block_size, pool_bytes, dtype):
    count = num_blocks(pool_bytes, groups, block_size, dtype)
    one_of_each = sum(page_bytes(group, block_size, dtype) for group in groups)
    assert count * one_of_each <= pool_bytes < (count + 1) * one_of_each


@given(GROUPS, st.integers(1, 300), st.integers(1, 20))
def test_a_sample_holds_the_blocks_that_its_window_touches_at_its_worst_moment(group, num_tokens, block_size):
    window = group.window or num_tokens
    touched = (
        len({position // block_size for position in range(max(0, length - window), length)})
        for length in range(1, num_tokens + 1)
    )
    assert group.blocks_for(num_tokens, block_size) == max(touched)


def test_an_unsupported_architecture_is_refused_with_those_we_have():
    with pytest.raises(ModelConfigError, match="MambaForCausalLM is not supported; supported are: LlamaForCausalLM"):
        ModelShape.from_config({**SMOLLM2_135M, "architectures": ["MambaForCausalLM"]})


REQUIRED = ("hidden_size", "intermediate_size", "num_attention_heads", "num_hidden_layers", "vocab_size")


@pytest.mark.parametrize("field", [*REQUIRED, "max_position_embeddings"])
def test_a_missing_field_is_named(field):
    with pytest.raises(ModelConfigError, match=f"{field} is missing; wanted a positive integer"):
        ModelShape.from_config({name: value for name, value in SMOLLM2_135M.items() if name != field})


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"hidden_size": "576"}, "hidden_size: wanted a positive integer, found '576'"),
        ({"num_hidden_layers": 0}, "num_hidden_layers: wanted a positive integer, found 0"),
        ({"vocab_size": True}, "vocab_size: wanted a positive integer, found True"),
        ({"num_key_value_heads": 2}, "9 is not a multiple of num_key_value_heads 2"),
        ({"tie_word_embeddings": "yes"}, "tie_word_embeddings: wanted true or false"),
        ({"torch_dtype": ["bfloat16"]}, "dtype: wanted one of"),
        ({"torch_dtype": "int8"}, "dtype: wanted one of float32, bfloat16, float16, found 'int8'"),
        ({"head_dim": 63}, "wanted an even number"),
        ({"architectures": None}, "architectures: wanted a list"),
        ({"architectures": "LlamaForCausalLM"}, "architectures: wanted a list"),
        ({"architectures": [["LlamaForCausalLM"]]}, "architectures: wanted a list"),
    ],
)
def test_a_field_that_cannot_be_is_refused_with_what_was_wanted(changes, said):
    with pytest.raises(ModelConfigError, match=said):
        ModelShape.from_config({**SMOLLM2_135M, **changes})


@pytest.mark.parametrize("config", [[], None, "{}"])
def test_a_config_that_is_no_object_is_refused(config):
    with pytest.raises(ModelConfigError, match="wanted an object"):
        ModelShape.from_config(config)


def test_auto_is_the_checkpoints_own_type_under_its_old_and_its_new_name():
    new = {**SMOLLM2_135M, "dtype": "float16"}
    assert resolve_dtype("auto", ModelShape.from_config(SMOLLM2_135M)) == "bfloat16"
    assert resolve_dtype("auto", ModelShape.from_config(new)) == "float16"
    assert resolve_dtype("float32", ModelShape.from_config(new)) == "float32"


def test_a_type_without_a_size_is_refused():
    with pytest.raises(ModelConfigError, match="'auto' has no size"):
        dtype_bytes("auto")
