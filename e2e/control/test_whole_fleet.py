"""Scenario 11: 200 InferenceServices: what they cost to bring up, and that they cost nothing when nothing happens.

Named so that it runs last: no other test shares the control plane with what it leaves to be deleted.
"""

import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from e2e.cluster import Machine
from e2e.control.conftest import StartOperator, namespace_with_models
from e2e.manifests import GPU_ENGINE, condition
from e2e.scene import Scene

COUNT = 200
QUIET_S = int(os.environ.get("E2E_QUIET_S", "60"))
"""How long nothing may be written; the figures in docs/performance.md are of 300."""
WRITES_A_SERVICE = 40
"""Children (about 15), the changes of replicas, the transitions of status and their Events."""


def resident_mib(pid: int) -> float:
    fields = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return int(fields["VmRSS"].split()[0]) / 1024


def writes(audit_log: Path, since: int) -> list[Mapping[str, Any]]:
    """Requests of the operator that wrote, Leases aside, from a byte of the log on."""
    with audit_log.open("rb") as log:
        log.seek(since)
        lines = log.read().decode(errors="replace").splitlines()
    found = []
    for line in lines:
        try:
            event = json.loads(line)
        except ValueError:
            continue  # being written
        if (
            event["stage"] == "ResponseComplete"
            and "pagelet" in event.get("userAgent", "")
            and event["verb"] in ("create", "update", "patch", "delete")
            and event.get("objectRef", {}).get("resource") != "leases"
        ):
            found.append(event)
    return found


@pytest.fixture
def twins() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.mark.timeout(900)
def test_two_hundred_services(
    twins: ExitStack,
    control_machine: Machine,
    scene: Scene,
    start_operator: StartOperator,
    record_property: Any,
    capsys: Any,
) -> None:
    operator = start_operator()
    other = f"{scene.namespace}-b"
    twins.enter_context(namespace_with_models(scene.kube, other))
    twin = Scene(scene.kube, other, GPU_ENGINE)
    log_start = control_machine.layout.audit_log.stat().st_size
    began_s = time.monotonic()
    for number in range(COUNT // 2):
        scene.apply(f"chat-{number}")
        twin.apply(f"chat-{number}")

    def waiting() -> list[str]:
        services = scene.kube.list("InferenceService", scene.namespace) + scene.kube.list("InferenceService", other)
        assert len(services) == COUNT
        return [
            service["metadata"]["name"]
            for service in services
            if condition(service, "Available").get("status") != "True"
            or condition(service, "Progressing").get("status") != "False"
        ]

    scene.kube.wait("all Available", lambda: not waiting(), 600, lambda: f"{len(waiting())} are not: {waiting()[:5]}")
    took_s = time.monotonic() - began_s
    time.sleep(10)  # for the last words of the controllers
    cost = len(writes(control_machine.layout.audit_log, log_start)) / COUNT
    memory = resident_mib(operator.pid)
    quiet_start = control_machine.layout.audit_log.stat().st_size
    time.sleep(QUIET_S)
    idle = writes(control_machine.layout.audit_log, quiet_start)
    with capsys.disabled():
        print(
            f"\n{COUNT} services: all Available after {took_s:.0f} s, {cost:.1f} writes each, operator {memory:.0f} MiB"
        )
    assert not idle, idle[:3]
    assert cost <= WRITES_A_SERVICE
    # Same name, two namespaces: each its own.
    for each in (scene, twin):
        owners = {pod["metadata"]["namespace"] for pod in each.engines("chat-1")}
        assert owners == {each.namespace}
