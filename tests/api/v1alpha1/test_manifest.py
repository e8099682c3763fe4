"""A user's file: every mistake is found, and said so that it can be mended."""

import copy
import datetime
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pagelet_api.v1alpha1 import ManifestError, load_inference_service
from pagelet_api.v1alpha1.rules import RULES

SAMPLES = sorted((Path(__file__).resolve().parents[3] / "manifests" / "samples").glob("*.yaml"))

GOOD = {
    "apiVersion": "pagelet.io/v1alpha1",
    "kind": "InferenceService",
    "metadata": {"name": "chat", "labels": {"team": "a"}},
    "spec": {
        "replicas": 2,
        "model": {"aliases": ["gpt"], "source": {"path": "models/chat"}, "digest": f"sha256:{'a' * 64}"},
        "engine": {"device": "cpu", "kvCacheMemory": "1.5Gi", "drainTimeout": "1m30s", "prefixCaching": False},
        "resources": {"limits": {"cpu": 4, "memory": "8Gi"}, "requests": {"cpu": "500m"}},
        "accelerator": {"product": "NVIDIA-L4", "memory": "24G"},
        "gateway": {"replicas": 1, "requestTimeout": "5m"},
    },
}


def _with(path, value):
    """GOOD with the value at a dotted path, parts of which may be new."""
    document = copy.deepcopy(GOOD)
    *parents, last = path.split(".")
    node = document
    for name in parents:
        node = node.setdefault(name, {})
    node[last] = value
    return document


def _problems(document):
    with pytest.raises(ManifestError) as raised:
        load_inference_service(document)
    return raised.value.problems


def test_a_good_file_is_read_with_its_units():
    service = load_inference_service(GOOD)
    assert service.served_name == "chat"
    assert service.spec.replicas == 2
    assert service.spec.model.source.path == "models/chat"
    assert service.spec.engine.kv_cache_memory.num_bytes == 3 * 2**29
    assert service.spec.engine.drain_timeout.seconds == 90
    assert service.spec.resources.limits == {"cpu": 4, "memory": "8Gi"}
    assert service.spec.accelerator.memory.num_bytes == 24 * 10**9


def test_a_file_written_again_is_the_file_that_was_read():
    service = load_inference_service(GOOD)
    assert service.model_dump(mode="json", by_alias=True, exclude_unset=True) == GOOD


def test_metadata_that_kubernetes_adds_is_kept():
    service = load_inference_service(_with("metadata.managedFields", [{"manager": "kubectl"}]))
    assert service.metadata.model_dump(by_alias=True)["managedFields"] == [{"manager": "kubectl"}]


@pytest.mark.parametrize(
    "path", ["spec.engine", "spec.gateway", "spec.accelerator.memory", "spec.model.name", "status"]
)
def test_null_is_the_same_as_left_out(path):
    """As in the API server: `engine:` with every line below it commented out is a file people write."""
    without = _with(path, None)
    *parents, last = path.split(".")
    node = without
    for name in parents:
        node = node[name]
    assert node[last] is None
    read = load_inference_service(without)
    del node[last]
    assert load_inference_service(without) == read


@pytest.mark.parametrize(
    ("path", "value", "sentence"),
    [
        ("spec.engine.maxNumSeq", 1, "spec.engine.maxNumSeq: there is no such field; did you mean maxNumSeqs?"),
        ("spec.engine.max_num_seqs", 1, "spec.engine.max_num_seqs: there is no such field; did you mean maxNumSeqs?"),
        (
            "spec.model.source.gcs",
            {},
            "spec.model.source.gcs: there is no such field; there are: path, pvc, s3, huggingFace",
        ),
        ("spek", {}, "spek: there is no such field; did you mean spec?"),
        ("spec.replicas", -1, "spec.replicas: wanted 0 or more, found -1"),
        ("spec.replicas", 1001, "spec.replicas: wanted 1000 or less, found 1001"),
        ("spec.replicas", "2", 'spec.replicas: wanted a whole number without quotes, found "2"'),
        ("spec.replicas", 1.5, "spec.replicas: wanted a whole number without quotes, found 1.5"),
        ("spec.replicas", True, "spec.replicas: wanted a whole number without quotes, found true"),
        ("spec.replicas", 2**100, "spec.replicas: wanted a number of at most 64 bits, found one of 101"),
        (
            "spec.replicas",
            float("nan"),
            "spec.replicas: wanted text, a number, a list or a map, found the float nan; quote it",
        ),
        ("spec.suspend", "no", 'spec.suspend: wanted true or false without quotes, found "no"'),
        ("spec.restartedAt", 5, "spec.restartedAt: wanted text, found 5; quote it if it is meant"),
        (
            "spec.restartedAt",
            datetime.date(2026, 11, 23),
            "spec.restartedAt: wanted text, a number, a list or a map, found the date 2026-11-23; quote it",
        ),
        ("spec.engine.device", "tpu", "spec.engine.device: wanted 'auto', 'cuda', 'rocm' or 'cpu', found \"tpu\""),
        (
            "spec.engine.quantization",
            "fp4",
            "spec.engine.quantization: wanted 'none', 'fp8', 'int8' or 'int4', found \"fp4\"",
        ),
        ("spec.engine.blockSize", 24, "spec.engine.blockSize: wanted a multiple of 16, found 24"),
        (
            "spec.engine.kvCacheMemory",
            4096,
            "spec.engine.kvCacheMemory: wanted text, found 4096; quote it if it is meant",
        ),
        (
            "spec.engine.kvCacheMemory",
            "4 GB",
            "spec.engine.kvCacheMemory: wanted memory such as 4Gi, 512Mi or 40G, found '4 GB'",
        ),
        (
            "spec.engine.drainTimeout",
            "5min",
            "spec.engine.drainTimeout: wanted a duration of at least a second such as 90s, 30m or 1h30m, found '5min'",
        ),
        ("spec.engine", [], "spec.engine: wanted a map of fields, found a list of 0"),
        ("spec.model.aliases", "gpt", 'spec.model.aliases: wanted a list, found "gpt"'),
        ("spec.model.aliases", ["a", ""], 'spec.model.aliases[1]: wanted at least 1 characters, found ""'),
        ("spec.model.aliases", ["a"] * 17, "spec.model.aliases: wanted at most 16 entries, found a list of 17"),
        ("spec.model.aliases", ["a", "b", "a"], "spec.model.aliases: wanted each name once, found a twice"),
        (
            "spec.model.digest",
            "abc",
            'spec.model.digest: wanted text that matches ^(sha256:[0-9a-f]{64})?$, found "abc"',
        ),
        (
            "spec.resources.limits.cpu",
            0.5,
            "spec.resources.limits.cpu: wanted a quantity such as 4Gi, 500m or 2, found 0.5; quote a fraction",
        ),
        (
            "spec.resources.requests.memory",
            "lots",
            "spec.resources.requests.memory: wanted a quantity such as 4Gi, 500m or 2, found 'lots'",
        ),
        ("spec.resources.claims", [], "spec.resources.claims: there is no such field; there are: limits, requests"),
        ("kind", "Deployment", "kind: wanted 'InferenceService', found \"Deployment\""),
        ("apiVersion", "pagelet.io/v1", "apiVersion: wanted 'pagelet.io/v1alpha1', found \"pagelet.io/v1\""),
        ("metadata", {}, "metadata.name: missing; add it"),
        ("spec", {}, "spec.model: missing; add it"),
        ("spec.model", {"name": "m"}, "spec.model.source: missing; add it"),
    ],
)
def test_a_mistake_is_said_with_field_and_remedy(path, value, sentence):
    assert _problems(_with(path, value)) == (sentence,)


@pytest.mark.parametrize("document", [None, [], "text", 5])
def test_a_file_that_is_no_map_is_refused(document):
    (problem,) = _problems(document)
    assert problem.startswith("file: wanted one InferenceService")


def test_a_key_that_is_no_text_is_refused():
    """YAML reads `on:` as true."""
    document = _with("spec.engine", {True: "x"})
    assert _problems(document) == ("spec.engine.True: wanted text as a field's name, found True; quote it",)


def test_all_mistakes_are_said_at_once():
    document = _with("spec.replicas", -1)
    document["spec"]["engine"].update(device="tpu", maxNumSeqs=0)
    del document["spec"]["model"]["source"]
    assert len(_problems(document)) == 4


BREAKERS = {
    "lower-case letters": ("metadata.name", "Chat"),
    "at most 40 characters": ("metadata.name", "c" * 41),
    "exactly one source": ("spec.model.source", {}),
    "take none": ("spec.model", {"source": {"s3": {"uri": "s3://models/chat"}}}),
    "one: ephemeral or pvc": ("spec.model", {"source": {"s3": {"uri": "s3://models/chat"}}, "storage": {}}),
    "or size of one to make": (
        "spec.model",
        {"source": {"s3": {"uri": "s3://models/chat"}}, "storage": {"pvc": {"claimName": "x", "size": "1Gi"}}},
    ),
    "only for a claim to make": (
        "spec.model",
        {
            "source": {"s3": {"uri": "s3://models/chat"}},
            "storage": {"pvc": {"claimName": "x", "storageClassName": "y"}},
        },
    ),
    "configMap or secret": (
        "spec.model",
        {"source": {"s3": {"uri": "s3://models/chat", "caBundleRef": {}}}, "storage": {"ephemeral": {}}},
    ),
    "cannot be joined": (
        "spec",
        {
            "model": {"source": {"path": "x"}},
            "engine": {"tensorParallelSize": 2},
            "resources": {"limits": {"nvidia.com/mig-1g.10gb": 2}},
        },
    ),
    "an alias is the same": ("spec.model", {"name": "gpt", "aliases": ["gpt"], "source": {"path": "x"}}),
    "compute in bfloat16 or float32": ("spec.engine", {"quantization": "int8", "dtype": "float16"}),
    "fp8 computes in bfloat16": ("spec.engine", {"quantization": "fp8", "dtype": "float32", "device": "cuda"}),
    "formats of the cpu device": ("spec.engine", {"quantization": "int4", "device": "cuda"}),
    "fp8 is a format of accelerators": ("spec.engine", {"quantization": "fp8", "device": "cpu"}),
    "fp8 is a type of accelerators": ("spec.engine", {"kvCacheDtype": "fp8"}),
    "maxNumBatchedTokens is below": ("spec.engine", {"maxNumSeqs": 64, "maxNumBatchedTokens": 63}),
}


@pytest.mark.parametrize("words", BREAKERS)
def test_a_broken_rule_is_said_in_the_rules_own_sentence(words):
    (rule,) = [rule for rule in RULES if words in rule.sentence]
    assert _problems(_with(*BREAKERS[words])) == (rule.sentence,)


DEVICES = pytest.mark.parametrize(
    ("device", "resources", "on_cpu"),
    [
        ("auto", {}, True),
        ("auto", {"limits": {"cpu": 4, "rdma/hca": 1}}, True),
        ("cpu", {"limits": {"nvidia.com/gpu": 1}}, True),
        ("cuda", {"limits": {"nvidia.com/gpu": 1}}, False),
        ("rocm", {}, False),
        ("auto", {"limits": {"nvidia.com/gpu": 1}}, False),
        ("auto", {"requests": {"nvidia.com/mig-1g.10gb": 1}}, False),
        ("auto", {"requests": {"amd.com/gpu": "1"}}, False),
    ],
)


@pytest.mark.parametrize("quantization", ["int8", "int4"])
@DEVICES
def test_weights_are_held_as_small_integers_on_the_cpu_alone(quantization, device, resources, on_cpu):
    document = _with("spec.engine", {"quantization": quantization, "device": device})
    document["spec"]["resources"] = resources
    if on_cpu:
        assert load_inference_service(document).spec.engine.quantization == quantization
    else:
        (problem,) = _problems(document)
        assert problem.startswith("spec.engine.quantization: int8 and int4 are formats of the cpu device")
    document["spec"]["engine"]["quantization"] = "none"
    load_inference_service(document)


@DEVICES
def test_weights_and_kv_cache_are_fp8_on_accelerators_alone(device, resources, on_cpu):
    document = _with("spec.engine", {"quantization": "fp8", "kvCacheDtype": "fp8", "device": device})
    document["spec"]["resources"] = resources
    if on_cpu:
        weights, cache = _problems(document)
        assert weights.startswith("spec.engine.quantization: fp8 is a format of accelerators")
        assert cache.startswith("spec.engine.kvCacheDtype: fp8 is a type of accelerators")
    else:
        engine = load_inference_service(document).spec.engine
        assert (engine.quantization, engine.kv_cache_dtype) == ("fp8", "fp8")


def test_every_rule_has_a_file_that_breaks_it():
    assert len(BREAKERS) == len(RULES)


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda path: path.name)
def test_every_sample_is_a_good_file(sample):
    load_inference_service(yaml.safe_load(sample.read_text()))


def test_there_are_samples():
    assert SAMPLES


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.dates()
ANYTHING = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5) | st.integers(), inner, max_size=3),
)


def _paths(node, prefix=""):
    for name, child in node.items():
        yield f"{prefix}{name}"
        if isinstance(child, dict):
            yield from _paths(child, f"{prefix}{name}.")


@given(ANYTHING)
def test_any_document_is_read_or_refused(document):
    with pytest.raises(ManifestError):
        load_inference_service(document)


@given(st.sampled_from(sorted(_paths(GOOD))), ANYTHING)
def test_any_value_in_any_field_is_read_or_refused_naming_the_field(path, value):
    try:
        problems = []
        load_inference_service(_with(path, value))
    except ManifestError as error:
        problems = error.problems
    # A value inside is named by its own path; what is missing after a null, or breaks a rule, by that of the whole.
    assert all(problem.startswith(path) or path.startswith(problem.partition(":")[0]) for problem in problems)
