"""What keeps a pod's containers from running: images, configuration, crashes. Init containers and sidecars too."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from pagelet_api import names
from pagelet_api.model_report import ModelReport

from pagelet_operator.diagnosis.findings import (
    CONFIG_ERROR,
    CRASH_LOOP,
    IMAGE_PULL,
    OOM_KILLED,
    Diagnosis,
    quoted,
)
from pagelet_operator.observed import KubernetesObject
from pagelet_operator.pod_state import label

Part = Mapping[str, Any]

_REASONS = {
    # The kubelet's word for a container that waits: ours.
    "ErrImagePull": IMAGE_PULL,
    "ImagePullBackOff": IMAGE_PULL,
    "ErrImageNeverPull": IMAGE_PULL,
    "InvalidImageName": IMAGE_PULL,
    "ImageInspectError": IMAGE_PULL,
    "RegistryUnavailable": IMAGE_PULL,
    "SignatureValidationFailed": IMAGE_PULL,
    "CreateContainerConfigError": CONFIG_ERROR,
    "CreateContainerError": CONFIG_ERROR,
    "RunContainerError": CONFIG_ERROR,
}
# Said between two attempts about the latest one: without it, a sentence would change with every attempt.
_BETWEEN_ATTEMPTS = re.compile(r'^Back-off pulling image "[^"]*": ErrImagePull: ')


def container_troubles(pod: KubernetesObject) -> Iterator[Diagnosis]:
    """What is wrong with each container that should run and does not."""
    status = pod.get("status", {})
    for kind in ("initContainerStatuses", "containerStatuses"):
        for container in status.get(kind) or ():
            if not container.get("ready"):
                yield from _trouble(pod, container)


def _trouble(pod: KubernetesObject, container: Part) -> Iterator[Diagnosis]:
    where = f"container {container['name']} of pod {pod['metadata']['name']}"
    state, last = container.get("state") or {}, container.get("lastState") or {}
    waiting = state.get("waiting") or {}
    if reason := _REASONS.get(waiting.get("reason", "")):
        said = _BETWEEN_ATTEMPTS.sub("", waiting.get("message") or waiting["reason"])
        image = f"its image {container.get('image', '')} cannot be had" if reason == IMAGE_PULL else "it cannot be made"
        yield Diagnosis(reason, f"{where}: {image}: {quoted(said)}", final=True)
        return
    # A container that came through its start-up is past its last crash.
    ended = state.get("terminated") or (None if container.get("started") else last.get("terminated"))
    if ended:
        yield _ended(pod, container, where, ended)
    elif waiting.get("reason") == "CrashLoopBackOff":
        yield Diagnosis(CRASH_LOOP, f"{where} ends again and again: {quoted(waiting.get('message'))}", final=True)


def _ended(pod: KubernetesObject, container: Part, where: str, ended: Part) -> Diagnosis:
    report = ModelReport.parse(ended.get("message") or "")
    if report and report.failure:
        return Diagnosis(str(report.failure.reason), f"{where}: {quoted(report.failure.message)}", final=True)
    if ended.get("reason") == "OOMKilled":
        return Diagnosis(OOM_KILLED, f"{where} took more memory than its limit{_limit(pod, container)}", final=True)
    words = _last_words(ended.get("message") or "")
    said = f"its last words: {words}" if words else "it said nothing; `kubectl logs --previous` may show more"
    return Diagnosis(CRASH_LOOP, f"{where} ended with exit code {ended.get('exitCode')}; {said}", final=True)


def _last_words(message: str) -> str:
    """The last line that says something: a traceback's or a log's last."""
    lines = [line for line in message.splitlines() if line.strip()]
    return quoted(lines[-1]) if lines else ""


def _limit(pod: KubernetesObject, container: Part) -> str:
    containers = (*(pod["spec"].get("containers") or ()), *(pod["spec"].get("initContainers") or ()))
    spec: Part = next((entry for entry in containers if entry["name"] == container["name"]), {})
    limit = ((spec.get("resources") or {}).get("limits") or {}).get("memory")
    is_gateway = label(pod, names.LABEL_COMPONENT) == names.COMPONENT_GATEWAY
    field = "spec.gateway.resources" if is_gateway else "spec.resources"
    return f" of {limit}; raise {field}.limits.memory" if limit else ", or its node had none left"
