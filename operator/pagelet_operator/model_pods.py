"""What the pods of a model's Job say: their report, or what keeps them from making one."""

from collections.abc import Iterable, Sequence

from pagelet_api.model_report import FailureReason, ModelFailure, ModelReport

from pagelet_operator.observed import KubernetesObject

_WORDS_KEPT = 500


def report_of(pods: Iterable[KubernetesObject]) -> ModelReport | None:
    """The latest report; one with facts counts more than any failure."""
    reports = [report for pod in _oldest_first(pods) if (report := ModelReport.parse(_last_words(pod)))]
    found = [report for report in reports if report.facts is not None]
    return next(reversed(found or reports), None)


def ended_without_report(job: KubernetesObject, pods: Sequence[KubernetesObject]) -> ModelFailure:
    """Why a Job ended that left no report that can be read."""
    for pod in reversed(_oldest_first(pods)):
        for status in pod.get("status", {}).get("containerStatuses", ()):
            ended = status.get("state", {}).get("terminated")
            if ended:
                words = str(ended.get("message", "")).strip()[-_WORDS_KEPT:]
                why = f"ended with code {ended.get('exitCode')} ({ended.get('reason', 'unknown')})"
                said = f"; it last said: {words}" if words else ""
                return ModelFailure(reason=FailureReason.INTERNAL, message=f"the model Job {why}{said}")
    conditions = job.get("status", {}).get("conditions", ())
    said = next((c.get("message", "") for c in conditions if c["type"] == "Failed"), "")
    name = job["metadata"]["name"]
    return ModelFailure(
        reason=FailureReason.INTERNAL,
        message=f"the Job {name} ended and its pod's report is lost{f': {said}' if said else ''}; it is run again",
    )


def obstacle(pods: Iterable[KubernetesObject]) -> str:
    """What the newest pod waits for; empty: for nothing but its work."""
    newest = next(iter(reversed(_oldest_first(pods))), None)
    if newest is None:
        return "the model Job's pod is not there yet"
    name, status = newest["metadata"]["name"], newest.get("status", {})
    for condition in status.get("conditions", ()):
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            return f"the pod {name} finds no node: {condition.get('message', '')}"
    for container in status.get("containerStatuses", ()):
        waiting = container.get("state", {}).get("waiting")
        if waiting and waiting.get("message"):
            return f"the pod {name} cannot start: {waiting.get('reason')}: {waiting['message']}"
        if waiting:
            return f"the pod {name} is being started"
    return ""


def _oldest_first(pods: Iterable[KubernetesObject]) -> list[KubernetesObject]:
    return sorted(pods, key=lambda pod: (pod["metadata"].get("creationTimestamp", ""), pod["metadata"]["name"]))


def _last_words(pod: KubernetesObject) -> str:
    """The termination message of its one container; empty while it runs."""
    for status in pod.get("status", {}).get("containerStatuses", ()):
        ended = status.get("state", {}).get("terminated")
        if ended:
            return str(ended.get("message", ""))
    return ""
