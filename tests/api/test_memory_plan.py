"""The memory plan: a sum that adds up."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pagelet_api.memory_plan import DoesNotFitError, activation_bytes, plan_gpu, plan_pool, prompt_logits_rows
from pagelet_api.sizes import ModelConfigError, ModelShape

GIB = 2**30
SHAPE = ModelShape(
    "LlamaForCausalLM", 4096, 32, 32, 8, 128, 14336, 128256, 8192, (None,) * 32, checkpoint_dtype="bfloat16"
)
LOCAL_AND_GLOBAL = ModelShape("G", 64, 6, 4, 2, 16, 128, 100, 4096, (512, 512, None) * 2, checkpoint_dtype="float32")


def test_a_pool_of_one_gibibyte_holds_8192_tokens_of_llama_3_8b():
    plan = plan_pool(SHAPE, pool_bytes=GIB)
    assert plan.kv_bytes_per_token == 131072
    assert (plan.num_blocks, plan.tokens) == (512, 8192)
    assert (plan.sessions(8192), plan.sessions(1024), plan.sessions(1)) == (1, 8, 512)


@given(st.integers(40 * GIB, 200 * GIB), st.sampled_from([16, 32, 128]), st.integers(50, 95))
def test_a_gpus_plan_takes_no_more_than_its_share_and_wastes_less_than_a_block(memory_bytes, block_size, percent):
    plan = plan_gpu(SHAPE, memory_bytes=memory_bytes, utilization_percent=percent, block_size=block_size)
    assert plan.total_bytes <= memory_bytes * percent // 100
    assert plan.pool_bytes - plan.num_blocks * sum(plan.page_bytes) < sum(plan.page_bytes)
    assert plan.weight_bytes == 2 * plan.parameters


@given(st.integers(1, 64).map(lambda gibibytes: gibibytes * GIB), st.sampled_from(["auto", "float32"]))
def test_quantised_weights_take_less_and_leave_the_kv_cache_as_it_is(pool_bytes, dtype):
    none, int8, int4 = (
        plan_pool(SHAPE, pool_bytes=pool_bytes, dtype=dtype, quantization=quantization)
        for quantization in ("none", "int8", "int4")
    )
    assert int4.total_bytes < int8.total_bytes < none.total_bytes
    assert none.total_bytes - int4.total_bytes == none.weight_bytes - int4.weight_bytes
    for plan in (int8, int4):
        assert replace(plan, weight_bytes=none.weight_bytes, quantization="none") == none


@given(st.integers(40 * GIB, 200 * GIB), st.sampled_from([1, 2, 8]))
def test_a_gpus_fp8_weights_leave_more_to_the_kv_cache_and_an_fp8_cache_holds_more_tokens(memory_bytes, size):
    def plan(**held):
        return plan_gpu(SHAPE, memory_bytes=memory_bytes, utilization_percent=90, tensor_parallel_size=size, **held)

    plain, weights, cache = plan(), plan(quantization="fp8"), plan(kv_cache_dtype="fp8")
    assert (weights.quantization, weights.kv_dtype) == ("fp8", "bfloat16")
    assert (cache.quantization, cache.kv_dtype) == ("none", "fp8_e4m3")
    assert weights.pool_bytes - plain.pool_bytes == plain.weight_bytes - weights.weight_bytes
    assert cache.pool_bytes == plain.pool_bytes
    assert cache.kv_bytes_per_token * 256 == plain.kv_bytes_per_token * (128 + 4)
    assert 1.9 * plain.tokens < cache.tokens < 2 * plain.tokens


def test_the_outputs_of_a_tokens_experts_are_held_until_they_are_summed():
    experts = {"num_experts": 128, "experts_per_token": 8, "expert_intermediate_size": 768, "expert_layers": (0,)}
    shape = replace(SHAPE, hidden_size=2048, intermediate_size=6144, **experts)
    dense = replace(shape, expert_layers=())
    more = activation_bytes(shape, "bfloat16", 2048, 1) - activation_bytes(dense, "bfloat16", 2048, 1)
    assert more == 2048 * 2 * (8 * (768 + 2048) + 2048 - 3 * 6144)


def test_rows_of_a_prompts_logits_are_bounded_by_bytes_and_counted_however_few_samples_run():
    rows = prompt_logits_rows(SHAPE.vocab_size, 2048)
    assert rows * SHAPE.vocab_size * 4 <= 32 * 2**20 < (rows + 1) * SHAPE.vocab_size * 4
    assert prompt_logits_rows(100, 2048) == 2048  # a step has no more
    assert prompt_logits_rows(2**30, 2048) == 1
    few, many = (activation_bytes(SHAPE, "bfloat16", 2048, count) for count in (1, 256))
    assert many - few == SHAPE.vocab_size * (256 * 20 - (4 + rows * 12))


def test_an_fp8_pool_that_is_too_small_says_what_a_block_is_made_of():
    with pytest.raises(DoesNotFitError, match=r"2 \(K, V\) × 8 heads × 16 tokens × \(128 \+ 4\) B\)"):
        plan_pool(SHAPE, pool_bytes=1, kv_cache_dtype="fp8")


def test_a_float16_checkpoint_is_planned_quantised_once_its_type_is_another():
    saved = replace(SHAPE, checkpoint_dtype="float16")
    with pytest.raises(ModelConfigError, match="int8 computes in bfloat16 or float32, and the model's dtype is"):
        plan_pool(saved, pool_bytes=GIB, quantization="int8")
    assert plan_pool(saved, pool_bytes=GIB, dtype="bfloat16", quantization="int8").dtype == "bfloat16"


@given(st.integers(1, 8192), st.integers(1, 8192))
def test_shorter_sessions_are_never_fewer(first, second):
    plan = plan_pool(SHAPE, pool_bytes=8 * GIB)
    shorter, longer = sorted((first, second))
    assert plan.sessions(shorter) >= plan.sessions(longer)


def test_windows_let_more_long_sessions_in():
    plan = plan_pool(LOCAL_AND_GLOBAL, pool_bytes=GIB)
    local, whole = plan.groups
    assert local.blocks_for(4096, 16) < whole.blocks_for(4096, 16)
    assert plan.sessions(4096) == plan.num_blocks // 256


def test_a_model_larger_than_the_gpu_is_refused_with_the_sum():
    with pytest.raises(
        DoesNotFitError, match=r"weights 15,317 MiB \+ largest step .* 90 % of 15,360 MiB is 13,824 MiB"
    ):
        plan_gpu(SHAPE, memory_bytes=15360 * 2**20, utilization_percent=90)


@pytest.mark.parametrize("blocks", range(4))
def test_a_pool_with_fewer_blocks_than_an_engine_starts_with_is_refused_with_the_sum(blocks):
    with pytest.raises(
        DoesNotFitError,
        match=rf"holds {blocks} blocks of 2097152 bytes \(32 layers × 2 .*\); .* give it 8388608 bytes or more",
    ):
        plan_pool(SHAPE, pool_bytes=2**20 + blocks * 2**21)
    assert plan_pool(SHAPE, pool_bytes=4 * 2**21).num_blocks == 4


def test_two_gpus_hold_what_one_does_not_and_split_it():
    one = plan_gpu(SHAPE, memory_bytes=40 * GIB, utilization_percent=90)
    two = plan_gpu(SHAPE, memory_bytes=20 * GIB, utilization_percent=90, tensor_parallel_size=2)
    assert two.weight_bytes == one.weight_bytes
    assert two.activation_bytes == 2 * one.activation_bytes
    assert two.kv_bytes_per_token == one.kv_bytes_per_token
    assert two.total_bytes <= 2 * (20 * GIB * 90 // 100)


def test_kv_heads_fewer_than_the_gpus_are_held_more_than_once():
    one, sixteen = (
        plan_gpu(SHAPE, memory_bytes=40 * GIB, utilization_percent=90, tensor_parallel_size=n) for n in (1, 16)
    )
    assert sixteen.kv_bytes_per_token == 2 * one.kv_bytes_per_token
    assert sixteen.parameters == one.parameters


def test_samples_are_no_longer_than_the_pool():
    plan = plan_pool(SHAPE, pool_bytes=GIB // 4)
    assert (plan.wanted_model_len, plan.max_model_len) == (8192, 2048)


def test_samples_longer_than_the_model_was_made_for_are_refused():
    with pytest.raises(ModelConfigError, match="wanted 9000 tokens, the model was made for 8192"):
        plan_pool(SHAPE, pool_bytes=GIB, max_model_len=9000)
