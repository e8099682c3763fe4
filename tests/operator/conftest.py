"""InferenceServices for the operator's tests: one small and fixed, and any that hypothesis can think of."""

from typing import Any

import pytest
from hypothesis import strategies as st
from pagelet_api.v1alpha1 import InferenceService, load_inference_service


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


quantities = st.sampled_from(["1", 2, "500m", "4Gi"])
resources = st.fixed_dictionaries(
    {}, optional={"limits": st.dictionaries(st.sampled_from(["cpu", "memory", "nvidia.com/gpu"]), quantities)}
)
names = st.from_regex(r"[a-z]([a-z0-9-]{0,38}[a-z0-9])?", fullmatch=True)
durations = st.sampled_from(["1s", "30s", "5m", "1h"])
engines = st.fixed_dictionaries(
    {},
    optional={
        "device": st.sampled_from(["auto", "cpu", "cuda"]),
        "dtype": st.sampled_from(["auto", "float32"]),
        "image": st.sampled_from(["", "engine@sha256:0"]),
        "blockSize": st.sampled_from([16, 32]),
        "maxNumSeqs": st.integers(1, 2048),
        "prefixCaching": st.booleans(),
        "startupTimeout": durations,
        "drainTimeout": durations,
    },
)
gateways = st.fixed_dictionaries(
    {}, optional={"replicas": st.integers(1, 5), "resources": resources, "requestTimeout": durations}
)


@st.composite
def services(draw: st.DrawFn) -> InferenceService:
    """Any valid InferenceService, applied (with a uid) or not."""
    model = {"source": {"path": draw(st.sampled_from(["/models/a", "/models/b"]))}}
    model |= draw(st.fixed_dictionaries({}, optional={"name": st.sampled_from(["m", "org/m"])}))
    metadata = {"name": draw(names)} | draw(st.fixed_dictionaries({}, optional={"uid": st.just("0f-1")}))
    optional = {
        "replicas": st.integers(0, 4),
        "restartedAt": st.sampled_from(["", "today"]),
        "engine": engines,
        "resources": resources,
        "gateway": gateways,
    }
    fields = draw(st.fixed_dictionaries({}, optional=optional))
    return load_inference_service(document() | {"metadata": metadata, "spec": {"model": model, **fields}})
