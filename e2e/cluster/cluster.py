"""A cluster as tests use it: kubectl, helm, objects, waits.

Owns the command lines of the two programs. Works with any cluster; what can be done to the machine that runs ours
(`Machine`) is asked for by `machine`, and refused for one that is not ours.
"""

import json
import os
import secrets
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from .account import Object, account, container_statuses
from .layout import BINARIES, BUILD
from .waiting import wait_for

if TYPE_CHECKING:
    from .machine import Machine

T = TypeVar("T")


class CommandError(Exception):
    """kubectl or helm refused; the message is theirs."""


class NotOurs(Exception):
    """Something was to be done to the machine of a cluster which others run."""


class Cluster:
    def __init__(self, kubeconfig: Path, machine: "Machine | None" = None) -> None:
        self.kubeconfig = kubeconfig
        self._machine = machine

    @property
    def machine(self) -> "Machine":
        """Raises NotOurs."""
        if self._machine is None:
            raise NotOurs(f"{self.kubeconfig} (E2E_KUBECONFIG) is a cluster that others run: its programs are not ours")
        return self._machine

    # ---- commands ----------------------------------------------------------------------------------------------------

    def kubectl(self, *arguments: str, stdin: str | None = None, timeout_s: float = 60) -> str:
        """Its standard output. Raises CommandError."""
        return self._run("kubectl", *arguments, stdin=stdin, timeout_s=timeout_s)

    def helm(self, *arguments: str, timeout_s: float = 300) -> str:
        """Its standard output. Raises CommandError."""
        return self._run("helm", *arguments, stdin=None, timeout_s=timeout_s)

    def environment(self) -> Mapping[str, str]:
        """For other programs which are to use this cluster, the operator for one; without a proxy's variables."""
        kept = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
        caches = {f"HELM_{kind}_HOME": f"{BUILD}/helm/{kind.lower()}" for kind in ("CACHE", "CONFIG", "DATA")}
        # What an API server can do is cached by its address, which the next cluster has, too.
        return {**kept, **caches, "KUBECONFIG": str(self.kubeconfig), "KUBECACHEDIR": f"{self.kubeconfig}.cache"}

    def _run(self, program: str, *arguments: str, stdin: str | None, timeout_s: float) -> str:
        try:
            done = subprocess.run(
                [str(BINARIES / program), *arguments],
                input=stdin,
                env=self.environment(),
                check=False,
                capture_output=True,
                text=True,
                timeout=timeout_s,
            )
        except subprocess.TimeoutExpired as error:
            raise CommandError(f"{program} {' '.join(arguments)} did not end within {timeout_s:g} s") from error
        if done.returncode != 0:
            raise CommandError(f"{program} {' '.join(arguments)}\n{done.stderr.strip()}")
        return done.stdout

    # ---- objects -----------------------------------------------------------------------------------------------------

    def apply(self, *objects: Object, manager: str = "e2e") -> None:
        """Server-side, with force."""
        options = ["--server-side", "--force-conflicts", f"--field-manager={manager}"]
        self.kubectl("apply", *options, "-f", "-", stdin=_list(objects))

    def create(self, *objects: Object) -> None:
        self.kubectl("create", "-f", "-", stdin=_list(objects))

    def get(self, kind: str, name: str, namespace: str = "default") -> dict[str, Any] | None:
        """None if there is none."""
        text = self.kubectl("get", kind, name, "-n", namespace, "--ignore-not-found", "-o", "json")
        found: dict[str, Any] | None = json.loads(text) if text else None
        return found

    def list(self, kind: str, namespace: str | None = None, selector: str = "") -> Sequence[Object]:
        """In all namespaces if none is given."""
        where = ["-A"] if namespace is None else ["-n", namespace]
        text = self.kubectl("get", kind, *where, f"--selector={selector}", "-o", "json")
        items: Sequence[Object] = json.loads(text)["items"]
        return items

    def delete(self, kind: str, name: str, namespace: str = "default", *, wait: bool = True) -> None:
        """Nothing happens if there is none."""
        self.kubectl("delete", kind, name, "-n", namespace, "--ignore-not-found", f"--wait={str(wait).lower()}")

    @contextmanager
    def namespace(self, prefix: str, labels: Mapping[str, str] | None = None) -> Iterator[str]:
        """A new namespace PREFIX-… with its default ServiceAccount; in the end it is deleted, and its pods are gone."""
        name = f"{prefix}-{secrets.token_hex(3)}"
        self.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels or {}}})
        try:
            account = lambda: self.get("serviceaccount", "default", name)  # noqa: E731
            self.wait(f"ServiceAccount {name}/default", account, timeout_s=30)
            yield name
        finally:
            # The namespace's controller begins after 5 s; nobody needs to wait for what is not a pod.
            self.delete("namespace", name, wait=False)
            self.kubectl("delete", "pods", "--all", "-n", name, "--wait=false")
            self.wait(f"the pods of {name} to go", lambda: not self.list("pods", name), timeout_s=90, namespace=name)

    # ---- waits -------------------------------------------------------------------------------------------------------

    def wait(
        self,
        what: str,
        find: Callable[[], T | None],
        *,
        timeout_s: float,
        namespace: str | None = None,
        others: str = "",
        poll_s: float = 0.3,
    ) -> T:
        """The first truthy answer of `find`. Raises WaitError, which tells of the namespace's pods, its events, and
        the conditions of `others` (kinds, e.g. "inferenceservices,nodes")."""
        return wait_for(what, find, timeout_s=timeout_s, poll_s=poll_s, account=lambda: self.account(namespace, others))

    def account(self, namespace: str | None = None, others: str = "") -> str:
        """What stands in the way, and the last words of containers that are not ready."""
        try:
            pods = self.list("pods", namespace)
            text = account(pods, self.list("events", namespace), self.list(others, namespace) if others else ())
            return "\n".join([text, *self._last_words(pods)])
        except CommandError as error:
            return f"and the cluster cannot be asked why: {error}"

    def _last_words(self, pods: Sequence[Object]) -> Iterator[str]:
        for pod in pods:
            namespace, name = pod["metadata"]["namespace"], pod["metadata"]["name"]
            for status in container_statuses(pod):
                states = status.get("state", {}).keys() | status.get("lastState", {}).keys()
                if not status["ready"] and states - {"waiting"}:
                    words = self._logs(namespace, name, status["name"])
                    yield from (f"  {namespace}/{name}/{status['name']}: {line}" for line in words.splitlines())

    def _logs(self, namespace: str, pod: str, container: str) -> str:
        try:
            return self.kubectl("logs", "-n", namespace, pod, "-c", container, "--tail=8")
        except CommandError:
            return "(no log)"


def _list(objects: Sequence[Object]) -> str:
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)})
