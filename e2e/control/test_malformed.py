"""Scenario 15: 300 manifests that are wrong by construction; each is refused at the door or by the operator."""

import copy
import random
from collections.abc import Iterator
from typing import Any

import yaml

from e2e.control.conftest import CRD_FILE
from e2e.kube import Refused
from e2e.manifests import GPU, GPU_ENGINE, condition, inference_service
from e2e.operator_process import OperatorProcess
from e2e.scene import Scene

COUNT = 300

# What the schema cannot see: each is well-formed, and makes no sense.
NONSENSE: tuple[dict[str, Any], ...] = (
    {"model": {"source": {"path": "/models/x"}}},
    {"engine": {"tensorParallelSize": 3}, "resources": {"limits": {GPU: 2}}},
    {"engine": {"tensorParallelSize": 16}, "resources": {"limits": {GPU: 8}}},
    {"engine": {"device": "cuda"}, "resources": {}},
    {"engine": {"device": "rocm"}, "resources": {"limits": {GPU: 1}}},
    {"resources": {"limits": {GPU: 1, "amd.com/gpu": 1}}},
    {"resources": {"limits": {f"{GPU}.shared": 2}}},
    {"engine": {"maxModelLen": 10**6}},
    {"podTemplate": {"env": [{"name": "PAGELET_LISTEN_ADDRESS", "value": "::"}]}},
    {"podTemplate": {"volumes": [{"name": "v", "noSuchKind": {}}], "volumeMounts": [{"name": "w", "mountPath": "/w"}]}},
    {"podTemplate": {"tolerations": [{"operator": "Sometimes"}]}},
    {"podTemplate": {"affinity": {"nodeAffinity": 5}}},
    {"podTemplate": {"containers": [{"name": "side"}]}},
    {"podTemplate": {"initContainers": [{"name": "UPPER", "image": "x"}]}},
)


def nodes(schema: dict[str, Any], path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], dict[str, Any]]]:
    """Every field of the spec that can be set by a path of names."""
    for name, child in schema.get("properties", {}).items():
        yield (*path, name), child
        yield from nodes(child, (*path, name))


def wrong_values(schema: dict[str, Any]) -> list[Any]:
    """Values that the field's own schema excludes."""
    if schema.get("x-kubernetes-int-or-string"):
        return [True, [], {}, "4 GB", "-1x", 1.5]
    wrong: list[Any] = {
        "string": [7, True, [], {}, 1.5],
        "integer": ["7", True, [], 1.5, {}, 2**63],
        "boolean": ["true", 1, [], {}],
        "array": [{}, "x", 3, {"name": "x"}],
        "object": [[], "x", 3, True],
    }[schema["type"]]
    wrong = list(wrong)
    if "enum" in schema:
        wrong += ["", "nonsense", schema["enum"][0].upper() + "X"]
    if "pattern" in schema:
        wrong += ["\n", "\u0000", " " * 3, "ü" * 9]
    if "maxLength" in schema:
        wrong.append("9" * (schema["maxLength"] + 1))
    if "minimum" in schema:
        wrong.append(schema["minimum"] - 1)
    if "maximum" in schema:
        wrong.append(schema["maximum"] + 1)
    if "maxItems" in schema:
        wrong.append([{"name": f"n{i}"} for i in range(schema["maxItems"] + 1)])
    return wrong


def malformed(seed: int) -> Iterator[dict[str, Any]]:
    """Specs, each wrong in one place at least."""
    chance = random.Random(seed)
    crd = yaml.safe_load(CRD_FILE.read_text())
    schema = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    fields = list(nodes(schema, ()))
    while True:
        spec = copy.deepcopy(dict(GPU_ENGINE))
        kind = chance.randrange(10)
        if kind < 2:
            spec |= copy.deepcopy(chance.choice(NONSENSE))
        else:
            for _ in range(chance.choice((1, 1, 1, 2, 3))):
                path, node = chance.choice(fields)
                if kind == 2:
                    put(spec, (*path[:-1], path[-1] + chance.choice("sX_")), 1)
                else:
                    put(spec, path, chance.choice(wrong_values(node)))
        yield spec


def put(spec: dict[str, Any], path: tuple[str, ...], value: Any) -> None:
    place = spec
    for name in path[:-1]:
        if not isinstance(place.get(name), dict):
            place[name] = {}
        place = place[name]
    place[path[-1]] = value


def test_malformed_manifests_are_refused_in_words(scene: Scene, operator: OperatorProcess) -> None:
    writes = operator.metric("pagelet_operator_api_writes_total")
    accepted_by_server, refusals = [], []
    for number, spec in zip(range(COUNT), malformed(15), strict=False):
        name = f"bad-{number}"
        manifest = inference_service(name, scene.namespace) | {"spec": spec}
        try:
            scene.kube.create(manifest)
            accepted_by_server.append((name, spec))
        except Refused as error:
            refusals.append(error)
    assert {refusal.status for refusal in refusals} <= {400, 422}
    assert all(refusal.message for refusal in refusals)
    assert accepted_by_server, "the fuzzer reaches the operator too"
    known = scene.apply("models-known")  # its model is the same, so the others' rules about models can be judged
    assert known
    scene.wait_settled("models-known")

    def not_refused() -> list[Any]:
        return [
            (name, spec, condition(scene.service(name), "Accepted"))
            for name, spec in accepted_by_server
            if condition(scene.service(name), "Accepted").get("status") != "False"
        ]

    scene.kube.wait("a refusal of each", lambda: not not_refused(), 120, lambda: str(not_refused()[:3]))
    for name, _ in accepted_by_server:
        assert len(condition(scene.service(name), "Accepted")["message"]) > 20
        assert not scene.engines(name)
    assert operator.alive
    # Neither a crash nor a hot loop: a refused service costs its status and the children that any service has.
    written = operator.metric("pagelet_operator_api_writes_total") - writes
    assert written < 40 * len(accepted_by_server) + 40
    scene.apply("good")
    scene.wait_settled("good")
