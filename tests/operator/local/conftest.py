"""Real processes under the real runtime; only the program inside the containers is a fake."""

import asyncio
import os
import socket
import time
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from pagelet_operator.local.address import LoopbackAddresses
from pagelet_operator.local.invocation import StateFolder
from pagelet_operator.local.lifecycle import BackOff
from pagelet_operator.local.runtime import LocalRuntime
from pagelet_operator.local.workload import read_services, read_workloads

FAKE = Path(__file__).with_name("fake_container.py")
FAST = BackOff(initial_s=0.01, maximum_s=0.05)
DEADLINE_S = 20


class World:
    """One runtime over one or two fake workloads, and the switches that its containers look at."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.objects: list[dict[str, Any]] = []
        self.addresses = LoopbackAddresses()
        self.runtime: LocalRuntime | None = None

    def add(
        self,
        name: str,
        *flags: str,
        replicas: int = 1,
        grace_s: int = 10,
        environment: Mapping[str, str] | None = None,
        **container: Any,
    ) -> Path:
        """Add a workload of fake containers with a headless Service; returns the folder of its switches."""
        switches = self.folder / name
        switches.mkdir()
        port = free_port()
        template = {
            "metadata": {"labels": {"app": name}},
            "spec": {
                "terminationGracePeriodSeconds": grace_s,
                "containers": [
                    {
                        "name": "main",
                        "command": ["python", str(FAKE), "/mnt/switches", *flags],
                        "env": [{"name": k, "value": v} for k, v in {"PORT": str(port), **(environment or {})}.items()],
                        "ports": [{"name": "http", "containerPort": port}],
                        "volumeMounts": [{"name": "switches", "mountPath": "/mnt/switches"}],
                        "readinessProbe": {"httpGet": {"path": "/ready", "port": "http"}, "periodSeconds": 0.1},
                        **container,
                    }
                ],
                "volumes": [{"name": "switches", "hostPath": {"path": str(switches)}}],
            },
        }
        metadata = {"name": name, "namespace": "default"}
        spec = {"replicas": replicas, "template": template}
        self.objects += [
            {"kind": "ReplicaSet", "metadata": metadata, "spec": spec},
            {"kind": "Service", "metadata": metadata, "spec": {"clusterIP": "None", "selector": {"app": name}}},
        ]
        return switches

    def start(self) -> LocalRuntime:
        workloads = read_workloads(self.objects, self.addresses.free)
        state = StateFolder(self.folder / "state")
        self.runtime = LocalRuntime(workloads, read_services(self.objects), state, dict(os.environ), FAST)
        self.runtime.start()
        return self.runtime

    @property
    def hosts(self) -> str:
        return (self.folder / "state" / "hosts").read_text()

    async def until(self, condition: Callable[[], bool], what: str) -> None:
        """Wait for the condition; what it waited for is in the failure."""
        try:
            async with asyncio.timeout(DEADLINE_S):
                while not condition():
                    await asyncio.sleep(0.01)
        except TimeoutError:
            raise AssertionError(f"waited {DEADLINE_S} s for: {what}") from None


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    world = World(tmp_path)
    yield world
    if world.runtime is not None:
        world.runtime.hurry()
        await world.runtime.stop()
        world.runtime.close()
    world.addresses.close()


def wait_until(condition: Callable[[], bool], what: str) -> None:
    """The same without an event loop."""
    end_s = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < end_s, f"waited {DEADLINE_S} s for: {what}"
        time.sleep(0.01)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def journal(switches: Path) -> list[str]:
    path = switches / "journal"
    return path.read_text().splitlines() if path.exists() else []


def exists(pid: int) -> bool:
    """Whether the process runs; one that has ended and only waits to be collected does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"
