"""What an InferenceService's status says that it did not say before, as Events: one a transition, none for what stays.

Pure. Knows no server.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pagelet_api.v1alpha1 import ConditionStatus, ConditionType

from pagelet_operator.cluster.kinds import EVENT, SERVICE
from pagelet_operator.observed import KubernetesObject

_REPORTING_CONTROLLER = "pagelet.io/operator"
_LONGEST_NOTE = 1024  # https://kubernetes.io/docs/reference/kubernetes-api/cluster-resources/event-v1/
# What each condition is when nothing has happened yet: becoming that is no news.
_AT_FIRST = {
    ConditionType.MODEL_READY: ConditionStatus.UNKNOWN,
    ConditionType.PROGRESSING: ConditionStatus.FALSE,
    ConditionType.AVAILABLE: ConditionStatus.FALSE,
    ConditionType.DEGRADED: ConditionStatus.FALSE,
}
_BAD = {
    ConditionType.ACCEPTED: ConditionStatus.FALSE,
    ConditionType.MODEL_READY: ConditionStatus.FALSE,
    ConditionType.PROGRESSING: ConditionStatus.FALSE,
    ConditionType.AVAILABLE: ConditionStatus.FALSE,
    ConditionType.DEGRADED: ConditionStatus.TRUE,
}
# Reasons for the bad status of a condition that are somebody's wish, or a step on the way.
_INNOCENT = frozenset(
    {
        *("Complete", "Held", "NotAccepted", "ScaledToZero", "Suspended"),
        *("WaitingForModel", "EnginesNotReady", "GatewayNotReady"),
    }
)


@dataclass(frozen=True, slots=True)
class Transition:
    condition: ConditionType
    status: ConditionStatus
    reason: str
    message: str
    since: str
    """When the condition's status last changed."""

    @property
    def is_bad(self) -> bool:
        """Whether somebody should look."""
        return self.status is _BAD[self.condition] and self.reason not in _INNOCENT

    def event(self, service: KubernetesObject, identity: str, now_s: float) -> KubernetesObject:
        """The same transition of the same service has the same name, whoever says it."""
        metadata = service["metadata"]
        saying = json.dumps([metadata["uid"], self.condition, self.status, self.reason, self.since, self.message])
        digest = hashlib.sha256(saying.encode()).hexdigest()[:16]
        return {
            "apiVersion": EVENT.api_version,
            "kind": EVENT.name,
            "metadata": {"namespace": metadata["namespace"], "name": f"{metadata['name']}.{digest}"},
            "eventTime": datetime.fromtimestamp(now_s, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            "type": "Warning" if self.is_bad else "Normal",
            "reason": self.reason,
            "action": str(self.condition),
            "note": self.message if len(self.message) <= _LONGEST_NOTE else self.message[: _LONGEST_NOTE - 1] + "…",
            "regarding": {
                "apiVersion": SERVICE.api_version,
                "kind": SERVICE.name,
                "namespace": metadata["namespace"],
                "name": metadata["name"],
                "uid": metadata["uid"],
                "resourceVersion": metadata["resourceVersion"],
            },
            "reportingController": _REPORTING_CONTROLLER,
            "reportingInstance": identity[:128],
        }


def transitions(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[Transition, ...]:
    """Conditions whose status changed; or whose reason did, where something is wrong or under way."""
    known = {condition["type"]: condition for condition in before.get("conditions", ())}
    found = []
    for condition in after.get("conditions", ()):
        type_, status = ConditionType(condition["type"]), ConditionStatus(condition["status"])
        message, since = condition.get("message", ""), condition["lastTransitionTime"]
        new = Transition(type_, status, condition["reason"], message, since)
        old = known.get(type_, {"status": _AT_FIRST.get(type_), "reason": None})
        is_told = new.is_bad or type_ is ConditionType.PROGRESSING
        if old["status"] != status or (is_told and old["reason"] not in (None, new.reason)):
            found.append(new)
    return tuple(found)
