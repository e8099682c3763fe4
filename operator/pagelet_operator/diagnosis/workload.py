"""Why a ReplicaSet or Deployment could not make a pod: the API server's own sentence."""

import re
from collections.abc import Iterator

from pagelet_operator.diagnosis.findings import PODS_FORBIDDEN, QUOTA_EXCEEDED, Diagnosis, quoted
from pagelet_operator.observed import KubernetesObject
from pagelet_operator.pod_state import condition

# Each attempt has another name for the pod: without this, the sentence would change with every attempt.
_WHICH_POD = re.compile(r'^pods "[^"]*" is forbidden: ')


def creation_trouble(owner: KubernetesObject) -> Iterator[Diagnosis]:
    failure = condition(owner, "ReplicaFailure")
    if failure.get("status") != "True":
        return
    message = failure.get("message") or ""
    said = quoted(_WHICH_POD.sub("", message))
    where = f"{owner['kind']} {owner['metadata']['name']} cannot make a pod"
    if "exceeded quota" in message:
        yield Diagnosis(QUOTA_EXCEEDED, f"{where}: {said}", final=False)
    else:
        # A webhook that does not answer may answer later; one that says no will go on saying it.
        forbidden = "is forbidden" in message or "denied the request" in message
        yield Diagnosis(PODS_FORBIDDEN, f"{where}: {said}", final=forbidden)
