"""What stands in the way in a cluster, in words: for a wait that failed.

Pure: from objects, as the API server gives them, to lines. Fetches nothing.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

Object = Mapping[str, Any]

_MOST_PODS = 10
_MOST_EVENTS = 15


def account(pods: Sequence[Object], events: Sequence[Object], others: Sequence[Object] = ()) -> str:
    """Pods that are not ready and why, `others` (anything with conditions) and theirs, the latest events."""
    unready = [pod for pod in pods if not is_ready(pod) and pod.get("status", {}).get("phase") != "Succeeded"]
    lines = [line for thing in others for line in _conditions(thing)]
    lines += [line for pod in unready[:_MOST_PODS] for line in _pod(pod)]
    if len(unready) > _MOST_PODS:
        lines.append(f"… and {len(unready) - _MOST_PODS} more pods that are not ready")
    lines += [_event(event) for event in sorted(events, key=_when)[-_MOST_EVENTS:]]
    return "\n".join(lines) or f"all {len(pods)} pods are ready, and there are no events"


def is_ready(thing: Object) -> bool:
    """Whether a pod or a node says so of itself."""
    return condition(thing, "Ready").get("status") == "True"


def condition(thing: Object, name: str) -> Object:
    """The condition of that type; empty if there is none."""
    conditions = thing.get("status", {}).get("conditions") or []
    return next((condition for condition in conditions if condition["type"] == name), {})


def container_statuses(pod: Object) -> Sequence[Object]:
    """Of its init containers, then of the others."""
    status = pod.get("status", {})
    return [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]


def _pod(pod: Object) -> Iterator[str]:
    yield f"{_name(pod)} is {pod.get('status', {}).get('phase', 'unknown')} on {pod['spec'].get('nodeName', 'no node')}"
    for found in pod.get("status", {}).get("conditions") or []:
        if found["status"] != "True" and found.get("message"):
            yield f"  {found['type']}: {found.get('reason', '')} {found['message']}"
    for status in container_statuses(pod):
        for when in ("state", "lastState"):
            for state, detail in (status.get(when) or {}).items():
                words = " ".join(str(detail[key]) for key in ("reason", "exitCode", "message") if key in detail)
                if state != "running":
                    yield f"  container {status['name']}: {when} {state} {words}, {status['restartCount']} restarts"


def _conditions(thing: Object) -> Iterator[str]:
    yield f"{_name(thing)}:"
    for found in thing.get("status", {}).get("conditions") or []:
        yield f"  {found['type']}={found['status']} {found.get('reason', '')}: {found.get('message', '')}"


def _event(event: Object) -> str:
    about = event["involvedObject"]
    name = f"{about.get('kind')} {about.get('namespace', '')}/{about.get('name')}"
    return f"event: {name}: {event.get('message', '')[:300]}"


def _when(event: Object) -> str:
    return event.get("lastTimestamp") or event.get("eventTime") or ""


def _name(thing: Object) -> str:
    metadata = thing["metadata"]
    return f"{thing.get('kind', 'Pod')} {metadata.get('namespace', '')}/{metadata['name']}"
