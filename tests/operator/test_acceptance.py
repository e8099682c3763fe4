"""Which specs are refused though the schema allows them, and in which words."""

import string
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pagelet_api.model_report import ModelFacts
from pagelet_api.sizes import ModelShape
from pagelet_api.v1alpha1 import load_inference_service
from pagelet_operator.acceptance import RULES, Refusal, refusal

GPU, AMD = "nvidia.com/gpu", "amd.com/gpu"
MIG, SHARED = "nvidia.com/mig-1g.10gb", "nvidia.com/gpu.shared"
LLAMA_8B = ModelShape(
    "LlamaForCausalLM", 4096, 32, 32, 8, 128, 14336, 128256, 8192, (None,) * 32, checkpoint_dtype="bfloat16"
)
TINY = ModelShape("LlamaForCausalLM", 64, 2, 6, 3, 16, 192, 256, 1024, (None,) * 2, checkpoint_dtype="float32")
TINY_BLOCK = 2 * 2 * 3 * 16 * 16 * 4  # layers, K and V, heads, head size, tokens, bytes


def refused(shape: ModelShape | None = TINY, **spec: Any) -> Refusal | None:
    document = {
        "apiVersion": "pagelet.io/v1alpha1",
        "kind": "InferenceService",
        "metadata": {"name": "smol"},
        "spec": {"model": {"source": {"pvc": {"claimName": "models"}}}, **spec},
    }
    model = None if shape is None else ModelFacts(digest="", folder="", num_bytes=1, shape=shape)
    return refusal(load_inference_service(document), model)


def reason(shape: ModelShape | None = TINY, **spec: Any) -> str:
    found = refused(shape, **spec)
    return found.reason if found else ""


def limits(**counts: Any) -> dict[str, Any]:
    return {"limits": counts}


def gpus(count: int, resource: str = GPU) -> dict[str, Any]:
    return {"limits": {resource: count}}


def test_a_plain_service_is_accepted_with_and_without_its_model() -> None:
    assert refused() is None
    assert refused(None) is None
    assert refused(LLAMA_8B, resources=gpus(1), accelerator={"memory": "40Gi"}) is None


def test_a_folder_of_this_machine_is_refused_in_a_cluster() -> None:
    found = refused(None, model={"source": {"path": "/models/x"}})
    assert found is not None
    assert found.reason == "PathInCluster"
    assert found.message.startswith("spec.model.source.path: a folder of one machine")


# ---- devices ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"resources": {"limits": {GPU: 1, AMD: 1}}}, "SeveralDeviceKinds"),
        ({"resources": {"limits": {GPU: 1, MIG: 1}}}, "SeveralDeviceKinds"),
        ({"resources": {"limits": {GPU: 1, AMD: 0}}}, ""),
        ({"resources": {"limits": {GPU: 1, "rdma/hca": 2, "memory": "64Gi"}}}, ""),
        ({"engine": {"device": "cuda"}}, "NoDevice"),
        ({"engine": {"device": "rocm"}, "resources": gpus(1)}, "NoDevice"),
        ({"engine": {"device": "rocm"}, "resources": gpus(1, AMD)}, ""),
        ({"resources": gpus(0)}, "NoDevice"),
        ({"resources": gpus(2, SHARED)}, "SharesNotJoined"),
        ({"resources": gpus(1, SHARED)}, ""),
        ({"resources": gpus(2, MIG)}, "SlicesNotJoined"),
        ({"resources": gpus(1, MIG)}, ""),
        ({"engine": {"tensorParallelSize": 3}, "resources": gpus(2)}, "TooFewDevices"),
        ({"engine": {"tensorParallelSize": 2}}, "TooFewDevices"),
        ({"engine": {"tensorParallelSize": 3, "device": "cpu"}}, ""),
        ({"resources": gpus(4)}, "DevicesWasted"),
        ({"engine": {"tensorParallelSize": 3}, "resources": gpus(3)}, ""),
        ({"engine": {"tensorParallelSize": 2}, "resources": {"requests": {GPU: "2"}}}, "HeadsNotDivided"),
    ],
)
def test_accelerators_that_an_engine_could_not_use_are_refused(spec: dict[str, Any], expected: str) -> None:
    assert reason(**spec) == expected


def test_the_cpu_device_may_ask_for_accelerators_that_it_does_not_use() -> None:
    assert refused(engine={"device": "cpu"}, resources=gpus(2)) is None


def test_sentences_about_devices_have_the_numbers() -> None:
    few = refused(engine={"tensorParallelSize": 16}, resources=gpus(8))
    assert few == Refusal(
        "TooFewDevices",
        "spec.engine.tensorParallelSize: wanted 16 accelerators, but spec.resources asks for 8 in a pod; replicas of "
        "several pods come later: ask for 16 in one pod, or lower it",
    )
    wasted = refused(engine={"tensorParallelSize": 2}, resources=gpus(8))
    assert wasted is not None
    assert "is given 8 accelerators and uses 2, so 6 would idle; set it to 8, or ask for 2" in wasted.message
    missing = refused(engine={"device": "rocm"})
    assert missing is not None
    assert (
        "rocm needs a device that spec.resources does not ask for; ask for one, such as amd.com/gpu: 1"
        in missing.message
    )


def test_heads_are_split_evenly_and_the_sizes_that_can_are_named() -> None:
    uneven = refused(engine={"tensorParallelSize": 4}, resources=gpus(4))
    assert uneven is not None
    assert uneven.message.endswith(
        "the model's 6 attention heads, 3 KV heads and an intermediate size of 192 cannot be spread evenly over 4 "
        "accelerators: 6 = 1 × 4 + 2, 4 = 1 × 3 + 1; sizes that can: 1, 3, 6"
    )
    # Six ranks hold each of the three KV heads twice.
    assert refused(engine={"tensorParallelSize": 6}, resources=gpus(6)) is None
    assert reason(None, engine={"tensorParallelSize": 4}, resources=gpus(4)) == ""


# ---- memory -------------------------------------------------------------------------------------------------------


def test_samples_longer_than_the_model_was_made_for_are_refused_once_it_is_known() -> None:
    assert refused(engine={"maxModelLen": 1024}) is None
    assert refused(None, engine={"maxModelLen": 1025}) is None
    found = refused(engine={"maxModelLen": 1025})
    assert found == Refusal(
        "ModelTooShort",
        "spec.engine.maxModelLen: wanted 1025 tokens, the model was made for 1024; lower it",
    )


def test_a_kv_cache_of_three_blocks_is_refused_with_the_sum_and_one_of_four_is_not() -> None:
    too_little = 4 * TINY_BLOCK - 1
    found = refused(engine={"kvCacheMemory": str(too_little)})
    assert found is not None
    assert found.reason == "KvCacheTooSmall"
    assert found.message.startswith(f"spec.engine.kvCacheMemory: a KV cache of {too_little} bytes holds 3 blocks")
    assert refused(engine={"kvCacheMemory": str(4 * TINY_BLOCK)}) is None


def test_weights_that_cannot_be_quantised_are_refused_with_what_to_set_once_the_model_is_known() -> None:
    ragged, saved = replace(TINY, intermediate_size=100), replace(TINY, checkpoint_dtype="float16")
    assert refused(None, engine={"quantization": "int4"}) is None
    assert refused(TINY, engine={"quantization": "int4"}) is None
    assert refused(ragged, engine={"quantization": "int8"}) is None
    assert refused(ragged, engine={"quantization": "int4"}) == Refusal(
        "NotQuantizable",
        "spec.engine.quantization: int4 takes the inputs of a layer in groups of 32, and some are left over: down 100 "
        "= 3 × 32 + 4; set quantization: int8, or none",
    )
    assert refused(saved, engine={"quantization": "int8"}) == Refusal(
        "NotQuantizable",
        "spec.engine.quantization: int8 computes in bfloat16 or float32, and the model's dtype is float16; set dtype: "
        "bfloat16",
    )
    assert refused(saved, engine={"quantization": "int8", "dtype": "bfloat16"}) is None
    on_a_gpu = {"engine": {"quantization": "fp8"}, "resources": gpus(1)}
    assert refused(replace(TINY, checkpoint_dtype="bfloat16"), **on_a_gpu) is None
    assert refused(saved, **on_a_gpu) == Refusal(
        "NotQuantizable",
        "spec.engine.quantization: fp8 computes in bfloat16, and the model's dtype is float16; set dtype: bfloat16",
    )
    assert refused(saved) is None


def test_a_memory_limit_that_is_too_low_for_the_weights_holds_them_quantised() -> None:
    def with_limit(quantization: str) -> str:
        return reason(LLAMA_8B, engine={"quantization": quantization}, resources=limits(memory="12Gi"))

    assert [with_limit(quantization) for quantization in ("none", "int8", "int4")] == [
        "TooLittleMemory",
        "TooLittleMemory",
        "",
    ]


@pytest.mark.parametrize(
    "spec",
    [
        {"accelerator": {"memory": "16Gi"}},
        {"accelerator": {"product": "Tesla-T4"}},
        {"accelerator": {"memory": "40Gi"}, "engine": {"gpuMemoryUtilizationPercent": 20}},
        {"accelerator": {"memory": "16312Mi"}, "engine": {"gpuMemoryUtilizationPercent": 99}},
        {"resources": gpus(1, MIG)},
    ],
)
def test_a_model_that_does_not_fit_its_accelerator_is_refused_with_the_sum(spec: dict[str, Any]) -> None:
    found = refused(LLAMA_8B, **{"resources": gpus(1), **spec})
    assert found is not None
    assert found.reason == "TooLittleDeviceMemory"
    assert "does not fit" in found.message
    assert " MiB" in found.message


def test_an_accelerator_that_nobody_knows_is_never_a_reason_to_refuse() -> None:
    assert refused(LLAMA_8B, resources=gpus(1)) is None
    assert refused(LLAMA_8B, resources=gpus(1), accelerator={"product": "Voodoo2"}) is None


def test_two_accelerators_hold_what_one_does_not() -> None:
    two = {"resources": gpus(2), "engine": {"tensorParallelSize": 2}}
    assert reason(LLAMA_8B, resources=gpus(1), accelerator={"memory": "16Gi"}) == "TooLittleDeviceMemory"
    assert refused(LLAMA_8B, accelerator={"memory": "16Gi"}, **two) is None


def test_a_memory_limit_below_the_sum_is_refused_on_the_cpu_alone() -> None:
    found = refused(LLAMA_8B, resources=limits(memory="16Gi"))
    assert found == Refusal(
        "TooLittleMemory",
        "spec.resources.limits.memory: weights 15,317 MiB + KV cache 4,096 MiB + 600 MiB for the process = 20,013 MiB, "
        "but the limit is 16,384 MiB; raise it, or lower spec.engine.kvCacheMemory",
    )
    assert refused(LLAMA_8B, resources=limits(memory="20Gi")) is None
    assert refused(LLAMA_8B, resources=limits(memory="1Gi", **{GPU: 1})) is None
    assert refused(LLAMA_8B, resources={"requests": {"memory": "1Gi"}}) is None


# ---- podTemplate --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ({"env": [{"name": "PAGELET_LISTEN_ADDRESS", "value": "::"}]}, "ReservedVariable"),
        ({"containers": [{"name": "engine", "env": [{"name": "PAGELET_X"}]}]}, "ReservedVariable"),
        ({"containers": [{"name": "side", "image": "x", "env": [{"name": "PAGELET_X"}]}]}, ""),
        ({"env": [{"name": "HTTPS_PROXY", "value": "x"}]}, ""),
        ({"containers": [{"name": "engine", "image": "x", "command": ["y"]}]}, "ReservedField"),
        ({"containers": [{"name": "engine", "workingDir": "/x"}]}, ""),
        ({"containers": [{"name": "engine", "env": 5}]}, ""),
        ({"containers": [{"name": "engine", "env": ["x", 5]}]}, ""),
        ({"volumes": [{"name": "model", "emptyDir": {}}]}, "ReservedName"),
        ({"initContainers": [{"name": "fetch", "image": "x"}]}, "ReservedName"),
        ({"containers": [{"name": "fetch", "image": "x"}]}, "ReservedName"),
        ({"volumes": [{"name": "v", "hostPath": {"path": "/"}}]}, "UnsafeVolume"),
        ({"volumes": [{"name": "v", "nfs": {"server": "s", "path": "/"}}]}, "UnsafeVolume"),
        ({"containers": [{"name": "s", "ports": [{"containerPort": 1, "hostPort": 1}]}]}, "ReachesTheNode"),
        ({"containers": [{"name": "s", "livenessProbe": {"httpGet": {"host": "h"}}}]}, "ReachesTheNode"),
        (
            {"initContainers": [{"name": "s", "lifecycle": {"preStop": {"tcpSocket": {"host": "h"}}}}]},
            "ReachesTheNode",
        ),
    ],
)
def test_what_is_ours_in_a_pod_is_not_taken_from_a_pod_template(template: dict[str, Any], expected: str) -> None:
    assert reason(podTemplate=template) == expected


def test_what_is_reserved_is_named() -> None:
    found = refused(podTemplate={"containers": [{"name": "engine", "image": "x", "command": ["y"]}]})
    assert found is not None
    assert "rendered from spec.engine and spec.resources: command, image; set them there" in found.message


# ---- the table ----------------------------------------------------------------------------------------------------


def test_every_rule_has_a_reason_of_its_own_and_a_sentence_that_begins_with_its_field() -> None:
    assert len({rule.reason for rule in RULES}) == len(RULES)
    for rule in RULES:
        assert rule.reason.isalpha()
        assert rule.sentence.startswith(rule.field.removesuffix(".env").removesuffix(".memory"))
        assert all(name is None or name.isidentifier() for _, name, _, _ in string.Formatter().parse(rule.sentence))


counts = st.integers(0, 9)


@given(
    st.dictionaries(st.sampled_from([GPU, AMD, MIG, SHARED, "cpu", "memory"]), counts, max_size=3),
    st.fixed_dictionaries(
        {},
        optional={
            "device": st.sampled_from(["auto", "cpu", "cuda", "rocm"]),
            "tensorParallelSize": st.integers(1, 9),
            "maxModelLen": st.integers(0, 9000),
            "quantization": st.sampled_from(["none", "int8", "int4"]),
            "kvCacheMemory": st.sampled_from(["1Ki", "1Mi", "4Gi", "7Ei"]),
        },
    ),
    st.sampled_from([None, TINY, LLAMA_8B, replace(TINY, intermediate_size=100, checkpoint_dtype="float16")]),
    st.sampled_from([{}, {"memory": "1Mi"}, {"memory": "40Gi"}, {"product": "L4"}]),
)
def test_whatever_is_asked_for_is_accepted_or_refused_with_a_whole_sentence(
    resources: dict[str, int], engine: dict[str, Any], shape: ModelShape | None, accelerator: dict[str, str]
) -> None:
    if engine.get("tensorParallelSize", 1) > 1:
        resources.pop(MIG, None)  # refused at the door
    device = engine.get("device", "auto")
    if device in ("cuda", "rocm") or (device == "auto" and {GPU, AMD, MIG, SHARED} & resources.keys()):
        engine.pop("quantization", None)  # refused at the door
    found = refused(shape, resources={"limits": resources}, engine=engine, accelerator=accelerator)
    assert found is None or (found.message.startswith("spec.") and "{" not in found.message)
