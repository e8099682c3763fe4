"""Runs a list of Kubernetes objects on this machine: all their pods, and the hosts file that stands in for DNS.

Owns the order of start and stop. What a container does is `container.py`'s business, what to say to a person the
command line's.
"""

import asyncio
from collections.abc import Mapping, Sequence

from pagelet_operator.local.container import LocalContainer
from pagelet_operator.local.invocation import StateFolder, make_invocation
from pagelet_operator.local.lifecycle import BackOff, Life
from pagelet_operator.local.pod import Pod
from pagelet_operator.local.watchdog import Watchdog
from pagelet_operator.local.workload import Service, hosts_file


class LocalPod:
    """A pod and its running containers."""

    def __init__(self, pod: Pod, containers: Sequence[LocalContainer]) -> None:
        self.pod = pod
        self.containers = containers

    @property
    def ready(self) -> bool:
        """Whether traffic may go there: all containers are ready, and it was not told to end."""
        return all(container.life.ready and not container.stopping for container in self.containers)


class LocalRuntime:
    """All pods of one service, from start to stop."""

    def __init__(
        self,
        workloads: Sequence[Sequence[Pod]],
        services: Sequence[Service],
        state: StateFolder,
        environment: Mapping[str, str],
        back_off: BackOff | None = None,
    ) -> None:
        """Prepare folders; nothing runs yet. Raises UnsupportedPod, and OSError for the state folder's troubles."""
        self._services = services
        self._state = state
        self.changed = asyncio.Event()
        """Set whenever anything about a pod changed; whoever waits for it clears it."""
        self.trouble = ""
        """What this machine does not let the runtime do, in a sentence; empty: nothing. The pods run on meanwhile."""
        state.clear()
        prepared = [
            [(pod, [(c, make_invocation(pod, c, state, environment)) for c in pod.containers]) for pod in pods]
            for pods in workloads
        ]
        # Only now, when nothing can be refused any more: it is a process.
        self._watchdog = Watchdog()
        self._workloads = [
            [
                LocalPod(
                    pod,
                    [
                        LocalContainer(
                            invocation,
                            Life(container.probes, back_off or BackOff()),
                            self._watchdog,
                            self._on_change,
                        )
                        for container, invocation in containers
                    ],
                )
                for pod, containers in pods
            ]
            for pods in prepared
        ]
        self._tasks: dict[LocalContainer, asyncio.Task[None]] = {}
        self._hosts = ""
        self._publish()

    @property
    def pods(self) -> list[LocalPod]:
        return [pod for pods in self._workloads for pod in pods]

    @property
    def ready(self) -> bool:
        return all(pod.ready for pod in self.pods)

    def start(self) -> None:
        """Start every container; all at once, as a cluster would."""
        for pod in self.pods:
            for container in pod.containers:
                self._tasks[container] = asyncio.create_task(container.run())

    async def stop(self) -> None:
        """End all pods, the workloads in reverse order: what was given later depends on what was given before."""
        for pods in reversed(self._workloads):
            containers = [container for pod in pods for container in pod.containers]
            for container in containers:
                container.stop()
            self._on_change()
            await asyncio.gather(*(self._tasks[container] for container in containers if container in self._tasks))

    def hurry(self) -> None:
        """End all pods now: no order, no grace."""
        for pod in self.pods:
            for container in pod.containers:
                container.stop(hurry=True)

    def close(self) -> None:
        """Kill whatever is left, which is nothing after `stop`."""
        self._watchdog.close()

    def _on_change(self) -> None:
        self._publish()
        self.changed.set()

    def _publish(self) -> None:
        """Write the hosts file if it changed. Where it cannot be written, the old one stays until the next change or
        the next answer to a probe, and so do all pods: a full disk is no reason to end them."""
        ready = {local.pod.name for local in self.pods if local.ready}
        text = hosts_file(self._services, lambda pod: pod.name in ready, [local.pod for local in self.pods])
        try:
            if text != self._hosts or not self._state.hosts.exists():
                self._state.write_hosts(text)
                self._hosts = text
            self.trouble = ""
        except OSError as error:
            self.trouble = (
                f"cannot write {self._state.hosts}: {error.strerror}; gateways do not hear of engines that come or go "
                "until it can be written, so make room there"
            )
