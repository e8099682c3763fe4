"""Sizes: the same numbers that transformers finds in the model itself."""

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pagelet_api.sizes import (
    BYTES_OF_DTYPE,
    FP8_KV_DTYPE,
    PACKED_FORMATS,
    KvGroup,
    Linear,
    ModelConfigError,
    ModelShape,
    block_linears,
    check_spread,
    dtype_bytes,
    kv_bytes_per_token,
    kv_groups,
    num_blocks,
    page_bytes,
    parameter_count,
    resolve_dtype,
    resolve_kv_dtype,
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
MISTRAL_7B = {
    **LLAMA_3_8B,
    "architectures": ["MistralForCausalLM"],
    "max_position_embeddings": 32768,
    "sliding_window": 4096,
    "vocab_size": 32000,
}
MIXTRAL_8X7B = {
    **MISTRAL_7B,
    "architectures": ["MixtralForCausalLM"],
    "num_experts_per_tok": 2,
    "num_local_experts": 8,
    "sliding_window": None,
}
QWEN2_5_7B = {
    "architectures": ["Qwen2ForCausalLM"],
    "hidden_size": 3584,
    "intermediate_size": 18944,
    "max_position_embeddings": 32768,
    "max_window_layers": 28,
    "num_attention_heads": 28,
    "num_hidden_layers": 28,
    "num_key_value_heads": 4,
    "sliding_window": 131072,
    "torch_dtype": "bfloat16",
    "use_sliding_window": False,
    "vocab_size": 152064,
}
QWEN3_8B = {
    **QWEN2_5_7B,
    "architectures": ["Qwen3ForCausalLM"],
    "head_dim": 128,
    "hidden_size": 4096,
    "intermediate_size": 12288,
    "num_attention_heads": 32,
    "num_hidden_layers": 36,
    "num_key_value_heads": 8,
    "sliding_window": None,
    "vocab_size": 151936,
}
QWEN3_30B_A3B = {
    **QWEN3_8B,
    "architectures": ["Qwen3MoeForCausalLM"],
    "decoder_sparse_step": 1,
    "hidden_size": 2048,
    "intermediate_size": 6144,
    "mlp_only_layers": [],
    "moe_intermediate_size": 768,
    "num_experts": 128,
    "num_experts_per_tok": 8,
    "num_hidden_layers": 48,
    "num_key_value_heads": 4,
}
GEMMA_3_1B = {
    "architectures": ["Gemma3ForCausalLM"],
    "head_dim": 256,
    "hidden_size": 1152,
    "intermediate_size": 6912,
    "max_position_embeddings": 32768,
    "num_attention_heads": 4,
    "num_hidden_layers": 26,
    "num_key_value_heads": 1,
    "sliding_window": 512,
    "sliding_window_pattern": 6,
    "torch_dtype": "bfloat16",
    "vocab_size": 262144,
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
    [
        (SMOLLM2_135M, 134_515_008),
        (LLAMA_2_7B, 6_738_415_616),
        (LLAMA_3_8B, 8_030_261_248),
        (MISTRAL_7B, 7_241_732_096),
        (MIXTRAL_8X7B, 46_702_792_704),
        (QWEN2_5_7B, 7_615_616_512),
        (QWEN3_8B, 8_190_735_360),
        (QWEN3_30B_A3B, 30_532_122_624),
        (GEMMA_3_1B, 999_885_952),
    ],
    ids=[
        "SmolLM2-135M",
        "Llama-2-7B",
        "Llama-3-8B",
        "Mistral-7B",
        "Mixtral-8x7B",
        "Qwen2.5-7B",
        "Qwen3-8B",
        "Qwen3-30B-A3B",
        "Gemma-3-1B",
    ],
)
def test_known_models_have_their_published_number_of_parameters(config, parameters):
    shape = ModelShape.from_config(config)
    assert parameter_count(shape) == parameters
    assert weight_bytes(shape, "bfloat16", "none") == 2 * parameters


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


def test_windows_are_those_of_the_layers():
    windows = {"Mistral": MISTRAL_7B, "Mixtral": MIXTRAL_8X7B, "Qwen": QWEN2_5_7B, "Gemma": GEMMA_3_1B}
    found = {name: ModelShape.from_config(config).windows for name, config in windows.items()}
    assert found == {
        "Mistral": (4096,) * 32,
        "Mixtral": (None,) * 32,
        "Qwen": (None,) * 28,
        "Gemma": ((512,) * 5 + (None,)) * 4 + (512, 512),
    }


def test_a_null_window_is_none_and_a_missing_one_is_that_of_transformers():
    without = {name: value for name, value in MISTRAL_7B.items() if name != "sliding_window"}
    assert set(ModelShape.from_config(without).windows) == {4096}
    assert set(ModelShape.from_config({**without, "sliding_window": None}).windows) == {None}


# ---- spread over ranks ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "size", "said"),
    [
        (SMOLLM2_135M, 2, "9 = 4 × 2 + 1, 3 = 1 × 2 + 1; sizes that can: 1, 3"),
        (SMOLLM2_135M, 9, "1536 = 170 × 9 + 6; sizes that can: 1, 3"),
        (SMOLLM2_135M, 4, "9 = 2 × 4 + 1, 4 = 1 × 3 + 1; sizes that can: 1, 3"),
        (LLAMA_3_8B, 3, "32 = 10 × 3 + 2, 8 = 2 × 3 + 2, 14336 = 4778 × 3 + 2; sizes that can: 1, 2, 4, 8, 16, 32"),
        ({**QWEN3_30B_A3B, "moe_intermediate_size": 36}, 8, "36 = 4 × 8 + 4; sizes that can: 1, 2, 4"),
    ],
)
def test_a_model_that_leaves_something_over_is_refused_with_the_sums_and_the_sizes_that_can(config, size, said):
    with pytest.raises(
        ModelConfigError, match=rf"^tensorParallelSize: .* spread evenly over {size}: {re.escape(said)}$"
    ):
        check_spread(ModelShape.from_config(config), size)


def test_the_refusal_names_what_is_spread():
    with pytest.raises(
        ModelConfigError,
        match="tensorParallelSize: 9 attention heads, 3 KV heads and an intermediate size of 1536 cannot",
    ):
        check_spread(ModelShape.from_config(SMOLLM2_135M), 2)


def test_a_dense_mlp_that_no_layer_has_need_not_be_spread():
    dense_unlike = {**QWEN3_30B_A3B, "intermediate_size": 6143}
    check_spread(ModelShape.from_config(dense_unlike), 8)
    with pytest.raises(ModelConfigError, match="intermediate size of 6143 and 768"):
        check_spread(ModelShape.from_config({**dense_unlike, "mlp_only_layers": [0]}), 8)


@pytest.mark.parametrize(("size", "held"), [(1, 8), (2, 4), (8, 1), (16, 1), (32, 1)])
def test_a_rank_holds_its_part_of_the_kv_heads_or_one_of_them(size, held):
    shape = ModelShape.from_config(LLAMA_3_8B)
    check_spread(shape, size)
    (group,) = kv_groups(shape, size)
    assert group.num_kv_heads == held


# ---- KV groups ------------------------------------------------------------------------------------------------------


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


# ---- quantised weights ----------------------------------------------------------------------------------------------


SMOLLM2_LAYERS = [(576 + 192 + 192, 576), (576, 576), (1536, 576), (1536, 576), (576, 1536)]
"""Rows and inputs of the layers of one of its 30 blocks: q, k and v; attention out; gate; up; down."""


def test_smollm2_has_its_known_bytes_in_every_quantization():
    shape = ModelShape.from_config(SMOLLM2_135M)
    assert [(linear.out_features, linear.in_features) for linear in block_linears(shape, 0)] == SMOLLM2_LAYERS
    rows = 30 * sum(rows for rows, _ in SMOLLM2_LAYERS)
    weights = 30 * sum(rows * inputs for rows, inputs in SMOLLM2_LAYERS)
    others = 49152 * 576 + 30 * 2 * 576 + 576  # tied embeddings, norms
    assert weight_bytes(shape, "bfloat16", "none") == 2 * (others + weights) == 269_030_016
    assert weight_bytes(shape, "bfloat16", "int8") == 2 * others + weights + 4 * rows == 163_483_776
    assert weight_bytes(shape, "bfloat16", "int4") == 2 * others + weights // 2 + 2 * weights // 32 == 116_413_056
    assert weight_bytes(shape, "float32", "int8") == 4 * others + weights + 4 * rows


def test_experts_and_their_router_stay_in_the_models_type():
    shape = ModelShape.from_config(QWEN3_30B_A3B)
    attention = 48 * (2048 * (32 + 4 + 4) * 128 + 32 * 128 * 2048)
    rows = 48 * ((32 + 4 + 4) * 128 + 2048)
    assert weight_bytes(shape, "bfloat16", "int8") == 2 * (30_532_122_624 - attention) + attention + 4 * rows


def test_biases_embeddings_and_an_untied_head_stay_in_the_models_type():
    plain = ModelShape.from_config(SMOLLM2_135M)
    more = ModelShape.from_config(
        {**SMOLLM2_135M, "tie_word_embeddings": False, "attention_bias": True, "mlp_bias": True}
    )
    head, biases = 49152 * 576, 30 * 5184
    for quantization in ("none", "int8", "int4"):
        for dtype, size in (("bfloat16", 2), ("float32", 4)):
            added = weight_bytes(more, dtype, quantization) - weight_bytes(plain, dtype, quantization)
            assert added == size * (head + biases)


@pytest.mark.parametrize(("rows", "held_rows"), [(1, 32), (32, 32), (33, 64), (960, 960)])
def test_rows_are_filled_up_to_whole_panels_with_their_scales(rows, held_rows):
    linear = Linear("down", rows, 64)
    assert PACKED_FORMATS["int8"].num_bytes(linear) == held_rows * (64 + 4)
    assert PACKED_FORMATS["int4"].num_bytes(linear) == held_rows * (64 // 2 + 64 // 32 * 2)


WHOLE_GROUPS = st.builds(
    lambda hidden, inner, heads, group, head_dim, layers, vocab, flags: ModelShape(
        "LlamaForCausalLM",
        hidden * 32,
        layers,
        heads * group,
        heads,
        head_dim,
        inner * 32,
        vocab,
        4096,
        (None,) * layers,
        *flags,
    ),
    st.integers(1, 64),
    st.integers(1, 64),
    st.integers(1, 8).map(lambda pairs: 2 * pairs),
    st.integers(1, 8),
    st.sampled_from([16, 48, 64, 128]),
    st.integers(1, 40),
    st.integers(1, 200_000),
    st.tuples(st.booleans(), st.booleans(), st.booleans()),
)
"""Models whose layers take whole groups of 32 inputs."""


@given(WHOLE_GROUPS, st.sampled_from(["bfloat16", "float32"]))
def test_fewer_bits_are_fewer_bytes_and_nothing_but_the_blocks_layers_shrinks(shape, dtype):
    none, int8, int4 = (weight_bytes(shape, dtype, quantization) for quantization in ("none", "int8", "int4"))
    assert int4 < int8 < none
    weights = shape.num_layers * sum(linear.num_weights for linear in block_linears(shape, 0))
    rows = shape.num_layers * sum(linear.out_features for linear in block_linears(shape, 0))
    assert none - int8 == (dtype_bytes(dtype) - 1) * weights - 4 * rows
    assert int8 - int4 == weights // 2 - weights // 16 + 4 * rows


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"intermediate_size": 1500}, "left over: down 1500 = 46 × 32 + 28; set quantization: int8, or none"),
        ({"head_dim": 10}, "left over: attention out 90 = 2 × 32 + 26; set"),
        (
            {"hidden_size": 580, "head_dim": 64},
            "left over: qkv 580 = 18 × 32 + 4, gate 580 = 18 × 32 + 4, up 580 = 18 × 32 + 4; set",
        ),
    ],
    ids=str,
)
def test_inputs_that_are_no_whole_groups_are_refused_with_the_sums_by_int4_alone(changes, said):
    shape = ModelShape.from_config({**SMOLLM2_135M, **changes})
    with pytest.raises(ModelConfigError, match=rf"int4 takes the inputs .* in groups of 32, .*{re.escape(said)}"):
        weight_bytes(shape, "bfloat16", "int4")
    assert weight_bytes(shape, "bfloat16", "int8") < weight_bytes(shape, "bfloat16", "none")


@pytest.mark.parametrize("quantization", ["int8", "int4"])
def test_float16_is_no_type_that_quantised_weights_are_computed_in(quantization):
    shape = ModelShape.from_config(LLAMA_2_7B)
    with pytest.raises(ModelConfigError, match=f"{quantization} computes in bfloat16 or float32.* set dtype: bfloat16"):
        weight_bytes(shape, "float16", quantization)
    assert weight_bytes(shape, "float16", "none") == 2 * parameter_count(shape)


def test_a_quantization_without_a_size_is_refused_with_those_that_have_one():
    with pytest.raises(ModelConfigError, match="'fp4' has no size; wanted one of: none, fp8, int8, int4"):
        weight_bytes(ModelShape.from_config(SMOLLM2_135M), "bfloat16", "fp4")


def test_fp8_takes_a_byte_a_weight_and_a_scale_a_row():
    shape = ModelShape.from_config(SMOLLM2_135M)
    rows = 30 * sum(rows for rows, _ in SMOLLM2_LAYERS)
    weights = 30 * sum(rows * inputs for rows, inputs in SMOLLM2_LAYERS)
    assert weight_bytes(shape, "bfloat16", "fp8") == 2 * (parameter_count(shape) - weights) + weights + 4 * rows
    assert PACKED_FORMATS["fp8"].num_bytes(Linear("qkv", 48, 64)) == 48 * (64 + 4), "no panels to fill up"


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_fp8_computes_in_bfloat16_alone(dtype):
    shape = ModelShape.from_config(LLAMA_3_8B)
    with pytest.raises(ModelConfigError, match=f"fp8 computes in bfloat16, and the model's dtype is {dtype}; set"):
        weight_bytes(shape, dtype, "fp8")


def test_layers_that_are_no_sixteens_are_refused_by_fp8():
    shape = ModelShape.from_config({**SMOLLM2_135M, "intermediate_size": 1500})
    with pytest.raises(ModelConfigError, match="multiples of 16, and some are not: gate 576 → 1500, up 576 → 1500, do"):
        weight_bytes(shape, "bfloat16", "fp8")


# ---- an fp8 cache ---------------------------------------------------------------------------------------------------


def test_the_type_of_the_kv_cache_is_that_of_the_model_unless_it_is_asked_for():
    assert resolve_kv_dtype("auto", "float16") == "float16"
    assert resolve_kv_dtype("fp8", "float16") == FP8_KV_DTYPE


@given(GROUPS, st.sampled_from([16, 32, 128]))
def test_an_fp8_page_holds_a_byte_a_number_and_a_scale_for_each_token_and_head(group, block_size):
    heads = 2 * len(group.layers) * group.num_kv_heads * block_size
    found = page_bytes(group, block_size, FP8_KV_DTYPE)
    assert found == heads * group.head_dim + 4 * heads
    assert found == page_bytes(group, block_size, "bfloat16") // 2 + 4 * heads
    assert kv_bytes_per_token([group], FP8_KV_DTYPE) * block_size == found
    assert num_blocks(7 * found, [group], block_size, FP8_KV_DTYPE) == 7


# ---- what is no model -----------------------------------------------------------------------------------------------


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
