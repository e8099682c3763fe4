"""A control plane with the CRD, namespaces that come and go, and operators as processes beside it."""

import itertools
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from e2e.cluster import Cluster, Machine
from e2e.cluster.layout import ROOT
from e2e.kube import Kube
from e2e.manifests import GPU_ENGINE, model_claim
from e2e.operator_process import OperatorProcess
from e2e.scene import Scene

CRD_FILE = ROOT / "crds" / "pagelet.io_inferenceservices.yaml"
NODES = 50
"""Played by kwok, with 8 GPUs each."""
StartOperator = Callable[..., OperatorProcess]


@pytest.fixture(scope="session")
def kube(control: Cluster, control_machine: Machine) -> Kube:
    control_machine.add_nodes(NODES, "gpu")
    kube = Kube(control.kubeconfig)
    crd = yaml.safe_load(CRD_FILE.read_text())
    kube.apply(crd)

    def established() -> bool:
        found = kube.get("CustomResourceDefinition", crd["metadata"]["name"]) or {}
        conditions = found.get("status", {}).get("conditions") or ()
        return any(c["type"] == "Established" and c["status"] == "True" for c in conditions)

    kube.wait("the CRD", established, 20)
    return kube


@contextmanager
def namespace_with_models(kube: Kube, name: str) -> Iterator[None]:
    """The claim is bound to a folder that nobody looks into: kwok mounts nothing."""
    kube.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    for obj in model_claim(name, Path("/nowhere")):
        kube.create(obj)
    try:
        yield
    finally:
        kube.delete("Namespace", name)
        kube.delete("PersistentVolume", f"models-{name}")


_numbers = itertools.count(1)


@pytest.fixture
def namespace(kube: Kube) -> Iterator[str]:
    """A namespace of the test's own, with a claim that stands for a volume of models."""
    name = f"scene-{next(_numbers)}-{time.time_ns() // 10**6 % 10**7}"
    with namespace_with_models(kube, name):
        yield name


_ports = itertools.count(18100)


@contextmanager
def operators(control: Cluster, folder: Path) -> Iterator[StartOperator]:
    """Start operators beside the cluster; whatever still runs in the end is stopped, and nobody leads any more."""
    started: list[OperatorProcess] = []

    def start(**options: Any) -> OperatorProcess:
        port = next(_ports)
        operator = OperatorProcess(control.kubeconfig, folder / f"operator-{port}.log", ops_port=port, **options)
        started.append(operator)
        return operator.start()

    try:
        yield start
    finally:
        for operator in started:
            operator.stop()


@pytest.fixture
def start_operator(control: Cluster, kube: Kube, tmp_path: Path) -> Iterator[StartOperator]:
    """For tests whose operators die, are replaced, or are several."""
    forget_lease(kube)
    with operators(control, tmp_path) as start:
        yield start
    forget_lease(kube)


@pytest.fixture(scope="module")
def operator(control: Cluster, kube: Kube, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OperatorProcess]:
    """One for all tests of a module."""
    forget_lease(kube)
    with operators(control, tmp_path_factory.mktemp("operator")) as start:
        yield start()


def forget_lease(kube: Kube) -> None:
    """That of a leader which was killed: waiting for its end is one test's concern, not all others'."""
    for lease in kube.list("Lease", "default"):
        kube.delete("Lease", lease["metadata"]["name"], "default")


@pytest.fixture
def scene(kube: Kube, namespace: str) -> Scene:
    return Scene(kube, namespace, GPU_ENGINE)
