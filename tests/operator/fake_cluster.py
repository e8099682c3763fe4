"""An API server and its controllers in memory, at the operator's own boundary (`cluster.api.Api`).

Does what the operator relies on: server-side apply by replacing rendered leaves, resource versions, generations, dry
runs, optimistic locking, garbage collection by owner. Controllers run when the test says so (`settle`), and pods fare
as the test decides. No HTTP, no admission but what a test adds, lists are replaced whole.
"""

import copy
import itertools
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from pagelet_operator.cluster.api import ApiError, Conflict, Refused
from pagelet_operator.cluster.kinds import Kind, kind_of

Object = dict[str, Any]
Objects = list[Object]  # within the class, `list` is a method
Name = tuple[str, str, str]  # kind, namespace, name
GPU = "nvidia.com/gpu"


@dataclass
class Clock:
    """Seconds since the epoch, or since anything: both of the operator's clocks."""

    now_s: float = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now_s

    def stamp(self) -> str:
        return datetime.fromtimestamp(self.now_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass
class FakeCluster:
    clock: Clock = field(default_factory=Clock)
    objects: dict[Name, Object] = field(default_factory=dict)
    writes: list[tuple[str, str, str]] = field(default_factory=list)
    """Verb, kind, name of every write that changed something."""
    dry_runs: list[str] = field(default_factory=list)
    watchers: list[Callable[[str, Object], None]] = field(default_factory=list)
    """Called at each change with the event's type and a copy."""
    refuse: Callable[[Object, bool], ApiError | None] = lambda obj, dry_run: None
    """Asked before an object is applied or created: an admission rule, a quota, a server that is away."""
    report: Callable[[Object], Object] = lambda job: {}
    """What a model Job's pod says at its end."""
    gpus: int = 1000
    broken: Callable[[Object], str] = lambda pod: ""
    """The reason in which a pod's container waits for ever; empty: it becomes ready."""
    _applied: dict[Name, Object] = field(default_factory=dict)
    _versions: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    _version: int = 0
    _uids: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    # ---- Api ------------------------------------------------------------------------------------------------------

    async def close(self) -> None: ...

    async def get(self, kind: Kind, namespace: str, name: str) -> Object | None:
        return copy.deepcopy(self.objects.get((kind.name, namespace, name)))

    async def list(
        self, kind: Kind, namespace: str | None, *, selector: str = "", fields: str = "", metadata_only: bool = False
    ) -> tuple[Objects, int]:
        found = [
            {"apiVersion": obj["apiVersion"], "kind": obj["kind"], "metadata": obj["metadata"]}
            if metadata_only
            else obj
            for (kind_name, ns, _), obj in self.objects.items()
            if kind_name == kind.name
            and namespace in (None, ns)
            and (not selector or selector in obj["metadata"].get("labels", {}))
        ]
        return copy.deepcopy(found), self._version

    async def apply(self, obj: Object, *, dry_run: bool = False) -> Object:
        name = name_of(obj)
        if error := self.refuse(obj, dry_run):
            raise error
        known = self.objects.get(name)
        new = copy.deepcopy(known) if known else {"status": {}} if obj["kind"] in _WITH_STATUS else {}
        _prune(new, self._applied.get(name, {}), obj)
        _merge(new, obj)
        if known and known.get("immutable") and known.get("data") != new.get("data"):
            raise Refused(422, "Invalid", f"{obj['kind']} {name[2]} is immutable")
        _default(new)
        if dry_run:
            self.dry_runs.append(name[2])
            return new
        self._applied[name] = copy.deepcopy(obj)
        return self._store(new, "apply")

    async def create(self, obj: Object) -> Object:
        if error := self.refuse(obj, False):
            raise error
        if name_of(obj) in self.objects:
            raise Conflict(409, "AlreadyExists", f"{obj['kind']} {obj['metadata']['name']} already exists")
        return self._store(copy.deepcopy(obj), "create")

    async def replace(self, obj: Object) -> Object:
        self._check_version(obj)
        return self._store(copy.deepcopy(obj), "replace")

    async def patch_status(self, obj: Object) -> Object:
        self._check_version(obj)
        new = copy.deepcopy(self.objects[name_of(obj)])
        new["status"] = _merge_patch(new.get("status", {}), obj["status"])
        return self._store(new, "status")

    async def delete(self, kind: Kind, namespace: str, name: str, uid: str) -> Object | None:
        found = self.objects.get((kind.name, namespace, name))
        if found is not None and found["metadata"]["uid"] == uid:
            self.writes.append(("delete", kind.name, name))
            self.remove(found)
        return None

    # ---- users ----------------------------------------------------------------------------------------------------

    def user_applies(self, obj: Object) -> Object:
        """What `kubectl apply --server-side` does, with ownership of spec.replicas where the file names it."""
        name = name_of(obj)
        new = copy.deepcopy(self.objects.get(name, {}))
        new |= {"apiVersion": obj["apiVersion"], "kind": obj["kind"]}
        new.setdefault("metadata", {}).update(copy.deepcopy(obj["metadata"]))
        new["spec"] = {"replicas": new.get("spec", {}).get("replicas", 1), **copy.deepcopy(obj["spec"])}
        fields = {"f:spec": {"f:replicas": {}} if "replicas" in obj["spec"] else {}}
        new["metadata"]["managedFields"] = [{"manager": "kubectl", "operation": "Apply", "fieldsV1": fields}]
        return self._store(new, None)

    def edit(self, kind: str, name: str, change: Callable[[Object], None], namespace: str = "team") -> None:
        """Somebody changes an object by hand."""
        new = copy.deepcopy(self.objects[kind, namespace, name])
        change(new)
        self._store(new, None)

    def remove(self, obj: Object) -> None:
        """An object goes, and what it owned with it."""
        gone = self.objects.pop(name_of(obj))
        self._applied.pop(name_of(obj), None)
        self._version = next(self._versions)
        gone["metadata"]["resourceVersion"] = str(self._version)
        self._tell("DELETED", gone)
        uid = gone["metadata"]["uid"]
        for owned in [o for o in self.objects.values() if _owner(o) == uid]:
            if name_of(owned) in self.objects:
                self.remove(owned)

    def of_kind(self, kind: str) -> Objects:
        return [obj for name, obj in sorted(self.objects.items()) if name[0] == kind]

    # ---- controllers ----------------------------------------------------------------------------------------------

    def settle(self) -> bool:
        """One round of every controller, the scheduler and the kubelet. Whether anything changed."""
        before = self._version
        for job in self.of_kind("Job"):
            self._run_job(job)
        for deployment in self.of_kind("Deployment"):
            self._make_pods(deployment)
        for replica_set in self.of_kind("ReplicaSet"):
            self._make_pods(replica_set)
        for pod in self.of_kind("Pod"):
            self._advance(pod)
        return self._version != before

    def _run_job(self, job: Object) -> None:
        if job["status"].get("conditions"):
            return
        report = json.dumps(self.report(job))
        if report == "{}":
            return
        failed = '"failure"' in report
        state = {"terminated": {"exitCode": int(failed), "message": report, "finishedAt": self.clock.stamp()}}
        pod = self._pod(job, {"phase": "Failed" if failed else "Succeeded"})
        pod["status"]["containerStatuses"] = [{"name": "model", "state": state}]
        self._store(pod, None)
        condition = {
            "type": "Failed" if failed else "Complete",
            "status": "True",
            "lastTransitionTime": self.clock.stamp(),
        }
        self.edit("Job", job["metadata"]["name"], lambda new: new["status"].update(conditions=[condition]))

    def _make_pods(self, owner: Object) -> None:
        wanted, uid = owner["spec"]["replicas"], owner["metadata"]["uid"]
        pods = [pod for pod in self.of_kind("Pod") if _owner(pod) == uid]
        template = _comparable(owner["spec"]["template"])
        for pod in pods:
            if owner["kind"] == "Deployment" and pod["metadata"]["annotations"]["template"] != template:
                self.remove(pod)
        pods = [pod for pod in pods if name_of(pod) in self.objects]
        for pod in sorted(pods, key=is_ready)[: max(0, len(pods) - wanted)]:
            self.remove(pod)
        for _ in range(wanted - len(pods)):
            self._store(self._pod(owner, {"phase": "Pending"}), None)
        pods = [pod for pod in self.of_kind("Pod") if _owner(pod) == uid]
        status = {
            "observedGeneration": owner["metadata"]["generation"],
            "replicas": len(pods),
            "readyReplicas": sum(map(is_ready, pods)),
            "availableReplicas": sum(map(is_ready, pods)),
            "updatedReplicas": len(pods),
        }
        self.edit(owner["kind"], owner["metadata"]["name"], lambda new: new.update(status=status))

    def _pod(self, owner: Object, status: Object) -> Object:
        template = owner["spec"]["template"]
        name = f"{owner['metadata']['name']}-{next(self._uids):05}"
        reference = {"kind": owner["kind"], "name": owner["metadata"]["name"], "uid": owner["metadata"]["uid"]}
        annotations = template["metadata"].get("annotations", {})
        return {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": name,
                "namespace": owner["metadata"]["namespace"],
                "labels": copy.deepcopy(template["metadata"]["labels"]),
                "annotations": {**annotations, "template": _comparable(template)},
                "ownerReferences": [{"apiVersion": owner["apiVersion"], "controller": True, **reference}],
            },
            "spec": copy.deepcopy(template["spec"]),
            "status": status,
        }

    def _advance(self, pod: Object) -> None:
        """One step of scheduler or kubelet."""
        if pod["status"]["phase"] in ("Succeeded", "Failed"):
            return
        name, now = pod["metadata"]["name"], self.clock.stamp()
        if "nodeName" not in pod["spec"]:
            used = sum(_gpus(other) for other in self.of_kind("Pod") if "nodeName" in other["spec"])
            fits = used + _gpus(pod) <= self.gpus
            scheduled = {"type": "PodScheduled", "status": str(fits), "lastTransitionTime": now}
            if not fits:
                scheduled |= {"reason": "Unschedulable", "message": f"0/1 nodes are available: 1 Insufficient {GPU}."}

            def schedule(new: Object) -> None:
                if fits:
                    new["spec"]["nodeName"] = "node-1"
                known = new["status"].get("conditions", [])
                if not known or known[0]["status"] != scheduled["status"]:
                    new["status"]["conditions"] = [scheduled]

            self.edit("Pod", name, schedule, pod["metadata"]["namespace"])
        elif not is_ready(pod):
            reason = self.broken(pod)
            container = {"name": pod["spec"]["containers"][0]["name"], "ready": not reason, "restartCount": 0}
            state: Object = {"waiting": {"reason": reason, "message": "no"}} if reason else {"running": {}}

            def start(new: Object) -> None:
                ready = {"type": "Ready", "status": str(not reason), "lastTransitionTime": now}
                new["status"]["containerStatuses"] = [{**container, "state": state, "lastState": {}}]
                new["status"]["phase"] = "Pending" if reason else "Running"
                if not reason:
                    new["status"]["conditions"] = [new["status"]["conditions"][0], ready]

            self.edit("Pod", name, start, pod["metadata"]["namespace"])

    # ---- storage --------------------------------------------------------------------------------------------------

    def _store(self, obj: Object, verb: str | None) -> Object:
        """`verb` None: somebody else than the operator writes."""
        known = self.objects.get(name_of(obj))
        metadata = obj["metadata"]
        if known is None:
            metadata |= {"uid": f"uid-{next(self._uids)}", "creationTimestamp": self.clock.stamp(), "generation": 1}
        elif {**known, "metadata": {**known["metadata"]}} == obj:
            return copy.deepcopy(known)
        elif known.get("spec") != obj.get("spec"):
            metadata["generation"] = known["metadata"]["generation"] + 1
        self._version = next(self._versions)
        metadata["resourceVersion"] = str(self._version)
        self.objects[name_of(obj)] = obj
        if verb:
            self.writes.append((verb, obj["kind"], metadata["name"]))
        self._tell("MODIFIED" if known else "ADDED", obj)
        return copy.deepcopy(obj)

    def _check_version(self, obj: Object) -> None:
        known = self.objects.get(name_of(obj))
        if known is None:
            raise Refused(404, "NotFound", f"{obj['kind']} {obj['metadata']['name']} not found")
        if known["metadata"]["resourceVersion"] != obj["metadata"]["resourceVersion"]:
            raise Conflict(409, "Conflict", "the object has been modified; please apply your changes to the latest")

    def _tell(self, event: str, obj: Object) -> None:
        for watcher in self.watchers:
            watcher(event, copy.deepcopy(obj))


_WITH_STATUS = frozenset({"Job", "Deployment", "ReplicaSet"})


def name_of(obj: Object) -> Name:
    kind_of(obj["apiVersion"], obj["kind"])  # the operator has business with no other
    return obj["kind"], obj["metadata"]["namespace"], obj["metadata"]["name"]


def is_ready(pod: Object) -> bool:
    return any(c["type"] == "Ready" and c["status"] == "True" for c in pod["status"].get("conditions", ()))


def _owner(obj: Object) -> str:
    references = obj["metadata"].get("ownerReferences", ())
    return next((reference["uid"] for reference in references if reference.get("controller")), "")


def _gpus(pod: Object) -> int:
    return sum(int(c.get("resources", {}).get("limits", {}).get(GPU, 0)) for c in pod["spec"]["containers"])


def _comparable(template: Object) -> str:
    return json.dumps(template, sort_keys=True)


def _default(obj: Object) -> None:
    """A few of the API server's own additions."""
    if obj["kind"] == "Service":
        obj["spec"].setdefault("clusterIP", "10.0.0.1")
        obj["spec"].setdefault("sessionAffinity", "None")
    if obj["kind"] == "Job":
        obj["spec"].setdefault("completions", 1)
    template = obj.get("spec", {}).get("template")
    if template:
        template["spec"].setdefault("dnsPolicy", "ClusterFirst")


def _prune(live: Object, before: Object, after: Object) -> None:
    """Take away what was applied before and is not applied now."""
    for field_name, value in before.items():
        if field_name not in after:
            live.pop(field_name, None)
        elif isinstance(value, dict) and isinstance(live.get(field_name), dict) and isinstance(after[field_name], dict):
            _prune(live[field_name], value, after[field_name])


def _merge(live: Object, applied: Object) -> None:
    for field_name, value in applied.items():
        if isinstance(value, dict) and isinstance(live.get(field_name), dict):
            _merge(live[field_name], value)
        else:
            live[field_name] = copy.deepcopy(value)


def _merge_patch(before: Any, patch: Any) -> Any:
    """RFC 7386."""
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    after = dict(before) if isinstance(before, dict) else {}
    for field_name, value in patch.items():
        if value is None:
            after.pop(field_name, None)
        else:
            after[field_name] = _merge_patch(after.get(field_name), value)
    return after
