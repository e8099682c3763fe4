"""Everything `pagelet up` checks and chooses before it starts anything: model, memory, ports, folder.

Whatever cannot work is refused here, in one line, while there is still nothing to clean up.
"""

import fcntl
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from pagelet_api.memory_plan import MemoryPlan
from pagelet_api.v1alpha1 import InferenceService

from pagelet_operator.cli import CommandError
from pagelet_operator.cli.numbers import count, size
from pagelet_operator.cli.source import check_model_folder, plan_on_cpu, read_shape, runs_on_cpu
from pagelet_operator.desired import Facts, KubernetesObject, desired_children, new_revision
from pagelet_operator.local.address import AddressError, LoopbackAddresses, free_port, taken_ports
from pagelet_operator.local.invocation import StateFolder
from pagelet_operator.local.machine import available_memory_bytes
from pagelet_operator.local.pod import Pod, UnsupportedPod
from pagelet_operator.local.workload import SERVICE_ADDRESS, read_workloads
from pagelet_operator.release import engine_image, gateway_image
from pagelet_operator.replica_memory import PROCESS_OVERHEAD_BYTES


@dataclass(frozen=True, slots=True)
class Preparation:
    """What is going to run."""

    objects: Sequence[KubernetesObject]
    workloads: tuple[tuple[Pod, ...], ...]
    plan_line: str
    addresses: LoopbackAddresses
    """Keeps the pods' addresses reserved."""


def prepare(service: InferenceService, port: int) -> Preparation:
    """Check that the service can run here, and render its pods. Raises CommandError."""
    replicas = 0 if service.spec.suspend else service.spec.replicas
    if not replicas:
        field = "spec.suspend is true" if service.spec.suspend else "spec.replicas is 0"
        raise CommandError(f"{field}: there would be no engine to answer; set it to run something")
    shape = read_shape(check_model_folder(service))
    plan = plan_on_cpu(service, shape) if runs_on_cpu(service) else None
    if plan:
        _check_memory(plan, replicas)
    try:
        if taken_ports(SERVICE_ADDRESS, [port]):
            raise CommandError(
                f"port {port} on {SERVICE_ADDRESS} is taken by another program; stop it, or choose another with --port"
            )
        facts = Facts(engine_image(), gateway_image(), port, free_port(SERVICE_ADDRESS, port + 1))
        objects = desired_children(service, [new_revision(service, facts, replicas)], facts)
        addresses = LoopbackAddresses()
        workloads = read_workloads(objects, addresses.free)
    except (AddressError, UnsupportedPod) as error:
        raise CommandError(str(error)) from error
    return Preparation(objects, workloads, _plan_line(service, plan), addresses)


def open_state(service: InferenceService, folder: Path | None) -> tuple[StateFolder, IO[bytes]]:
    """The service's state folder, and the lock that is held while the returned file is open. Raises CommandError."""
    home = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "pagelet"
    path = (folder or home / f"{service.metadata.namespace}.{service.metadata.name}").absolute()
    try:
        path.mkdir(parents=True, exist_ok=True)
        lock = (path / "lock").open("wb")
    except OSError as error:
        raise CommandError(
            f"cannot use the state folder {path}: {error.strerror}; give another: --state-dir"
        ) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        raise CommandError(
            f"{service.metadata.name} is running already: another `pagelet up` holds {path}; stop it, or give another "
            "--state-dir"
        ) from None
    return StateFolder(path), lock


def _check_memory(plan: MemoryPlan, replicas: int) -> None:
    available = available_memory_bytes()
    wanted = replicas * (plan.weight_bytes + plan.pool_bytes + PROCESS_OVERHEAD_BYTES)
    if available is not None and wanted > available:
        raise CommandError(
            f"too little memory: weights {size(plan.weight_bytes)} + KV cache {size(plan.pool_bytes)} + "
            f"{size(PROCESS_OVERHEAD_BYTES)} for the process{f', {replicas} times' if replicas > 1 else ''} is "
            f"{size(wanted)}, and {size(available)} are free; lower spec.engine.kvCacheMemory"
        )


def _plan_line(service: InferenceService, plan: MemoryPlan | None) -> str:
    if plan is None:
        return f"{service.metadata.name}: the accelerator's memory is planned by the engine"
    held = plan.dtype if plan.quantization == "none" else plan.quantization
    return (
        f"{service.metadata.name}: weights {size(plan.weight_bytes)} {held}, KV cache {size(plan.pool_bytes)} = "
        f"{count(plan.num_blocks)} blocks of {plan.block_size} tokens = {count(plan.tokens)} tokens"
    )
