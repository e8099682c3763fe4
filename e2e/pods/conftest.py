"""Pagelet installed by Helm on the cluster with the real kubelet; namespaces with a real model on a claim.

Owns what every scenario with pods starts from: images, chart, the model's volume, the client's way in.
"""

import itertools
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import httpx
import openai
import pytest

from e2e.cluster import Cluster, Machine, NotOurs, WaitError
from e2e.cluster.images import pagelet_image
from e2e.cluster.layout import ROOT
from e2e.kube import Kube
from e2e.manifests import model_claim
from e2e.scene import Scene

SYSTEM = "pagelet-system"
MODELS = ROOT / "build" / "models"
MODEL = "smollm2-135m-instruct"
# What fits this machine beside others: a small model, a small cache, one processor.
ENGINE = {"device": "cpu", "kvCacheMemory": "192Mi", "maxNumSeqs": 16, "startupTimeout": "5m", "drainTimeout": "30s"}
CPU_SHARE = {"cpu": "200m"}
"""What engines and gateways request alike: beside an engine at work, a gateway that asks for nothing would get nothing,
and be killed for its silence."""
CPU_ENGINE: dict[str, Any] = {
    "model": {"source": {"pvc": {"claimName": "models", "path": MODEL}}},
    "engine": ENGINE,
    "resources": {"requests": CPU_SHARE, "limits": {"memory": "3Gi"}},
    "gateway": {"replicas": 1, "resources": {"requests": CPU_SHARE}},
}
READY_S = 180
QUESTION, ANSWER = "What is the capital of Japan?", "Tokyo"
"""The model is sure of it (each token 12 times likelier than the next best), so no rounding of a busy batch turns it
into another; of France's it is not: "The" and "L'Étoile" are all but equally likely."""


@pytest.fixture(scope="session")
def kube(cluster: Cluster) -> Kube:
    return Kube(cluster.kubeconfig)


@pytest.fixture(scope="session")
def installed(cluster: Cluster, kube: Kube) -> float:
    """The chart, installed with the images built from this tree; how long `helm install --wait` took, in seconds.

    In a cluster of others (E2E_KUBECONFIG) its owner has installed it already, with images that it can pull.
    """
    try:
        machine = cluster.machine
    except NotOurs:
        return 0.0
    images = {part: pagelet_image(part) for part in ("operator", "gateway", "engine")}
    for archive in images.values():
        machine.load(archive)
    digests = [f"--set=images.{part}.digest={archive.digest}" for part, archive in images.items()]
    began_s = time.monotonic()
    cluster.helm(
        *("upgrade", "--install", "pagelet", str(ROOT / "charts" / "pagelet")),
        *("--namespace", SYSTEM, "--create-namespace", "--wait", "--timeout", "3m", "--set=registry=localhost"),
        *digests,
    )
    return time.monotonic() - began_s


_numbers = itertools.count(1)


@pytest.fixture
def scene(kube: Kube, installed: float) -> Iterator[Scene]:
    """A namespace under the `restricted` Pod Security Standard, with the model on a claim."""
    name = f"pods-{next(_numbers)}-{time.time_ns() // 10**6 % 10**7}"
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    kube.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})
    for obj in model_claim(name, MODELS):
        kube.create(obj)
    yield Scene(kube, name, CPU_ENGINE)
    # The services first: the namespace's controller would wait for half of the pods' grace before it looks again. But
    # after an API server was away, the garbage collector takes minutes to notice, and the namespace is the quicker way.
    for service in kube.list("InferenceService", name):
        kube.delete("InferenceService", service["metadata"]["name"], name)
    with suppress(WaitError):
        kube.wait(f"the pods of {name} to go", lambda: not kube.list("Pod", name), 40)
    kube.delete("Namespace", name)
    kube.wait(f"the pods of {name} to go with it", lambda: not kube.list("Pod", name), 150)
    kube.delete("PersistentVolume", f"models-{name}")


@pytest.fixture
def gpus(machine: Machine) -> Iterator[Callable[[int], None]]:
    """Set how many GPUs the node offers; two again in the end."""
    yield machine.set_gpus
    machine.set_gpus(2)


def url(kube: Kube, namespace: str, name: str = "chat") -> str:
    """Of the service, by its cluster address: this machine is the node, so kube-proxy's rules hold here too."""
    service = kube.get("Service", name, namespace)
    assert service, f"there is no Service {name}"
    [port] = service["spec"]["ports"]
    return f"http://{service['spec']['clusterIP']}:{port['port']}"


@contextmanager
def client(kube: Kube, namespace: str) -> Iterator[openai.OpenAI]:
    with client_of(url(kube, namespace)) as made:
        yield made


@contextmanager
def client_of(address: str) -> Iterator[openai.OpenAI]:
    """Tries nothing again: what fails, fails."""
    with httpx.Client(trust_env=False, timeout=120) as http:
        yield openai.OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0, http_client=http)


def ask(client: openai.OpenAI, question: str = QUESTION, tokens: int = 24, **more: Any) -> str:
    """A streamed chat's whole text. Raises what the client raises."""
    chunks = client.chat.completions.create(
        model="chat",
        messages=[{"role": "user", "content": question}],
        max_tokens=tokens,
        temperature=0,
        stream=True,
        **more,
    )
    text = []
    finished = False
    for chunk in chunks:
        for choice in chunk.choices:
            text.append(choice.delta.content or "")
            finished = finished or choice.finish_reason is not None
    assert finished, f"the stream broke off after {json.dumps(''.join(text))}"
    return "".join(text)
