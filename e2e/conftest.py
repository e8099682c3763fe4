"""The two clusters, for tests: one that is up is used and left up, otherwise one is started and taken down again.

With E2E_KUBECONFIG both fixtures are that cluster; a test which does something to the machine of a cluster asks for
`machine` or `control_machine`, and is skipped then.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from .cluster import CLUSTER, CONTROL, Cluster, Layout, Machine, NotOurs

KUBECONFIG = "E2E_KUBECONFIG"


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """A cluster with a kubelet, DNS and 2 GPUs that do not exist."""
    with running(CLUSTER) as found:
        yield found


@pytest.fixture(scope="session")
def control() -> Iterator[Cluster]:
    """A control plane whose nodes, if any, are played by kwok: add those that the test needs."""
    with running(CONTROL) as found:
        yield found


@pytest.fixture(scope="session")
def machine(cluster: Cluster) -> Machine:
    """What runs `cluster`."""
    return machine_of(cluster)


@pytest.fixture(scope="session")
def control_machine(control: Cluster) -> Machine:
    """What runs `control`."""
    return machine_of(control)


@contextmanager
def running(layout: Layout) -> Iterator[Cluster]:
    if kubeconfig := os.environ.get(KUBECONFIG):
        yield Cluster(Path(kubeconfig))
        return
    machine = Machine(layout)
    was_up = machine.is_up()
    if not was_up:
        machine.up()
    try:
        yield machine.cluster
    finally:
        if not was_up:
            machine.down()


def machine_of(cluster: Cluster) -> Machine:
    try:
        return cluster.machine
    except NotOurs as error:
        pytest.skip(str(error))
