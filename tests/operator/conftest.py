"""InferenceServices for the operator's tests: one small and fixed, and any that hypothesis can think of."""

from typing import Any

import pytest
from hypothesis import strategies as st
from pagelet_api.model_report import ModelFacts
from pagelet_api.sizes import ModelShape
from pagelet_api.v1alpha1 import InferenceService, load_inference_service

MODEL_FACTS = ModelFacts(
    digest=f"sha256:{'a' * 64}",
    folder=f"sha256-{'a' * 64}",
    revision="0123abcd",
    num_bytes=2**28,
    shape=ModelShape("LlamaForCausalLM", 64, 2, 4, 2, 16, 128, 256, 1024, (None, None)),
)


def document(**spec: Any) -> dict[str, Any]:
    """A user's file, with these fields of `spec` besides the model."""
    model = {"source": {"path": "/models/smol"}}
    return {
        "apiVersion": "pagelet.io/v1alpha1",
        "kind": "InferenceService",
        "metadata": {"name": "smol", "namespace": "team"},
        "spec": {"model": model, **spec},
    }


@pytest.fixture
def service() -> InferenceService:
    return load_inference_service(document())


def some_of(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """A map with any of these fields, and others left out."""
    return st.fixed_dictionaries({}, optional=fields)


names = st.from_regex(r"[a-z]([a-z0-9-]{0,38}[a-z0-9])?", fullmatch=True)
durations = st.sampled_from(["1s", "30s", "90s", "1m30s", "5m", "1h"])
memories = st.sampled_from(["1Gi", "4096Mi", "1.5Gi", "40G"])

# ---- where models come from and live ---------------------------------------------------------------------------------

claims = st.fixed_dictionaries(
    {"claimName": st.sampled_from(["models", "weights.v2"])}, optional={"path": st.sampled_from(["", "a", "a/b.c"])}
)
bundles = st.one_of(
    st.fixed_dictionaries({"configMap": st.just("ca")}, optional={"key": st.just("root.pem")}),
    st.just({"secret": "ca"}),
)
buckets = st.fixed_dictionaries(
    {"uri": st.sampled_from(["s3://models/m", "s3://models"])},
    optional={
        "endpoint": st.just("https://rgw.example:8443"),
        "region": st.just("eu"),
        "pathStyle": st.booleans(),
        "credentialsSecretRef": st.just({"name": "keys"}),
        "caBundleRef": bundles,
    },
)
repositories = st.fixed_dictionaries(
    {"repo": st.sampled_from(["org/m", "m"])},
    optional={
        "revision": st.sampled_from(["main", "v1"]),
        "endpoint": st.just("http://hub.example"),
        "tokenSecretRef": st.fixed_dictionaries({"name": st.just("hub")}, optional={"key": st.just("t")}),
    },
)
storages = st.one_of(
    st.fixed_dictionaries({"ephemeral": some_of(sizeLimit=memories)}),
    st.just({"pvc": {"claimName": "shared"}}),
    st.fixed_dictionaries(
        {
            "pvc": st.fixed_dictionaries(
                {"size": memories}, optional={"storageClassName": st.just("cephfs"), "retain": st.booleans()}
            )
        }
    ),
)
fetched = st.fixed_dictionaries(
    {
        "source": st.one_of(
            st.fixed_dictionaries({"s3": buckets}), st.fixed_dictionaries({"huggingFace": repositories})
        ),
        "storage": storages,
    }
)
folders = st.fixed_dictionaries({"source": st.fixed_dictionaries({"pvc": claims})})
paths = st.fixed_dictionaries({"source": st.fixed_dictionaries({"path": st.sampled_from(["/models/a", "/models/b"])})})

# ---- where engines run -----------------------------------------------------------------------------------------------

quantities = st.sampled_from(["1", 2, "500m", "4Gi"])
devices = st.sampled_from(["nvidia.com/gpu", "nvidia.com/gpu.shared", "nvidia.com/mig-1g.10gb", "amd.com/gpu"])
resources = some_of(
    limits=st.dictionaries(st.one_of(st.sampled_from(["cpu", "memory"]), devices), quantities),
    requests=st.dictionaries(st.sampled_from(["cpu", "memory"]), quantities),
)
accelerators = some_of(product=st.sampled_from(["", "NVIDIA-A100-SXM4-40GB"]), memory=memories)
engines = some_of(
    device=st.sampled_from(["auto", "cpu", "cuda"]),
    dtype=st.sampled_from(["auto", "float32"]),
    image=st.sampled_from(["", "engine@sha256:0"]),
    blockSize=st.sampled_from([16, 32]),
    maxModelLen=st.sampled_from([0, 4096]),
    maxNumSeqs=st.integers(1, 2048),
    prefixCaching=st.booleans(),
    gpuMemoryUtilizationPercent=st.integers(10, 99),
    kvCacheMemory=memories,
    startupTimeout=durations,
    drainTimeout=durations,
)

# ---- what users add to the pods --------------------------------------------------------------------------------------

variables = st.lists(
    st.fixed_dictionaries({"name": st.sampled_from(["A", "B", "TMPDIR"]), "value": st.sampled_from(["1", "2"])}),
    max_size=3,
    unique_by=lambda variable: variable["name"],
)
weak_contexts = st.sampled_from(
    [
        {},
        {"privileged": True, "runAsUser": 0, "allowPrivilegeEscalation": True},
        {"runAsUser": 7, "readOnlyRootFilesystem": False, "runAsNonRoot": False},
        {"capabilities": {"add": ["SYS_ADMIN"]}, "seccompProfile": {"type": "Unconfined"}, "procMount": "Unmasked"},
    ]
)


def sidecars(*names: str) -> st.SearchStrategy[list[dict[str, Any]]]:
    one = st.fixed_dictionaries(
        {"name": st.sampled_from(names), "image": st.just("sidecar:1")},
        optional={"securityContext": weak_contexts, "env": variables},
    )
    return st.lists(one, max_size=2, unique_by=lambda container: container["name"])


node_terms = st.lists(
    st.sampled_from(
        [
            {"matchExpressions": [{"key": "zone", "operator": "In", "values": ["a"]}]},
            {"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n"]}]},
        ]
    ),
    min_size=1,
    max_size=2,
)
affinities = node_terms.map(
    lambda terms: {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}}
)
pod_templates = some_of(
    labels=st.just({"team": "a", "pagelet.io/component": "nonsense"}),
    annotations=st.just({"note": "n"}),
    env=variables,
    volumes=st.just([{"name": "extra", "emptyDir": {}}]),
    volumeMounts=st.just([{"name": "scratch", "mountPath": "/extra"}]),
    initContainers=sidecars("prepare", "warm"),
    containers=sidecars("engine", "proxy", "logs"),
    affinity=affinities,
    tolerations=st.just([{"key": "k", "operator": "Exists"}]),
    nodeSelector=st.just({"pool": "gpu"}),
    topologySpreadConstraints=st.just(
        [{"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway", "labelSelector": {}}]
    ),
    priorityClassName=st.just("high"),
    runtimeClassName=st.just("nvidia"),
    imagePullSecrets=st.just([{"name": "registry"}]),
)

# ---- the rest --------------------------------------------------------------------------------------------------------

gateways = some_of(replicas=st.integers(1, 5), resources=resources, requestTimeout=durations)
rollouts = some_of(
    strategy=st.sampled_from(["Auto", "Surge", "InPlace"]),
    surgeTimeout=durations,
    maxUnavailable=st.integers(1, 3),
    allowDowntime=st.booleans(),
    progressDeadline=durations,
)
egress = st.lists(
    st.fixed_dictionaries(
        {"cidr": st.sampled_from(["10.1.0.0/16", "fd00::/8"])}, optional={"ports": st.sampled_from([[], [443, 8443]])}
    ),
    max_size=2,
)


@st.composite
def services(draw: st.DrawFn, models: st.SearchStrategy[dict[str, Any]] | None = None) -> InferenceService:
    """Any valid InferenceService, applied (with a uid) or not; `models`: of these alone."""
    model = dict(draw(models if models is not None else st.one_of(paths, folders, fetched)))
    model |= draw(some_of(name=st.sampled_from(["m", "org/m"]), digest=st.just(f"sha256:{'b' * 64}")))
    metadata = {"name": draw(names)} | draw(some_of(uid=st.just("0f-1")))
    fields = draw(
        some_of(
            suspend=st.booleans(),
            replicas=st.integers(0, 4),
            restartedAt=st.sampled_from(["", "today"]),
            engine=engines,
            resources=resources,
            accelerator=accelerators,
            rollout=rollouts,
            gateway=gateways,
            security=some_of(egress=egress),
            podTemplate=pod_templates,
        )
    )
    if "nvidia.com/mig-1g.10gb" not in fields.get("resources", {}).get("limits", {}):
        parallel = draw(some_of(tensorParallelSize=st.sampled_from([1, 2, 8])))
        fields["engine"] = {**fields.get("engine", {}), **parallel}
    engine, limits = fields.get("engine", {}), fields.get("resources", {}).get("limits", {})
    if engine.get("device") == "cpu" or (engine.get("device") != "cuda" and not any("/" in name for name in limits)):
        fields["engine"] = {**engine, **draw(some_of(quantization=st.sampled_from(["none", "int8", "int4"])))}
    elif engine.get("dtype", "auto") in ("auto", "bfloat16"):
        fp8 = some_of(quantization=st.sampled_from(["none", "fp8"]), kvCacheDtype=st.sampled_from(["auto", "fp8"]))
        fields["engine"] = {**engine, **draw(fp8)}
    return load_inference_service(document() | {"metadata": metadata, "spec": {"model": model, **fields}})


def in_cluster() -> st.SearchStrategy[InferenceService]:
    """Any valid InferenceService that a cluster could run."""
    return services(st.one_of(folders, fetched))
