"""What is shipped for ArgoCD: Applications in their order, and a health check in Lua."""

import shutil
import subprocess
from typing import Any

import pytest
import yaml

from .rendered import ROOT

FOLDER = ROOT / "manifests" / "argocd"


def load(name: str) -> dict[str, Any]:
    return yaml.safe_load((FOLDER / name).read_text())


def test_the_operator_comes_before_the_services():
    waves = [
        load(name)["metadata"]["annotations"]["argocd.argoproj.io/sync-wave"]
        for name in ("operator.yaml", "services.yaml")
    ]
    assert int(waves[0]) < int(waves[1])


def test_the_operators_values_are_those_of_the_chart(helm, tmp_path):
    values = tmp_path / "values.yaml"
    values.write_text(yaml.safe_dump(load("operator.yaml")["spec"]["source"]["helm"]["valuesObject"]))
    images = [
        spec["image"]
        for obj in helm.render("-f", str(values))
        if obj["kind"] == "Pod"
        for spec in obj["spec"]["containers"]
    ]
    assert images == ["registry.example.org/pagelet/pagelet-operator:0.1.0"]


def test_replicas_stay_with_whoever_scales():
    spec = load("services.yaml")["spec"]
    [ignored] = spec["ignoreDifferences"]
    assert (ignored["group"], ignored["kind"], ignored["jsonPointers"]) == (
        "pagelet.io",
        "InferenceService",
        ["/spec/replicas"],
    )
    assert {"ServerSideApply=true", "RespectIgnoreDifferences=true"} <= set(spec["syncPolicy"]["syncOptions"])


def service(observed: int = 3, **conditions: str) -> dict[str, Any]:
    """Of generation 3; each condition as STATUS:Reason."""
    parts = {name: value.partition(":") for name, value in conditions.items()}
    listed = [
        {"type": name, "status": status, "reason": reason or "Reason", "message": "a sentence"}
        for name, (status, _, reason) in parts.items()
    ]
    return {"metadata": {"generation": 3}, "status": {"observedGeneration": observed, "conditions": listed}}


SERVING = {"Accepted": "True", "ModelReady": "True", "Progressing": "False", "Available": "True", "Degraded": "False"}


@pytest.mark.parametrize(
    ("obj", "health"),
    [
        ({"metadata": {"generation": 1}}, "Progressing"),
        (service(observed=2, **SERVING), "Progressing"),
        (service(), "Progressing"),
        (service(**SERVING), "Healthy"),
        (service(**{**SERVING, "Progressing": "True:RollingOut"}), "Progressing"),
        (service(**{**SERVING, "Accepted": "False:TwoSources"}), "Degraded"),
        (service(**{**SERVING, "Degraded": "True:CrashLoop"}), "Degraded"),
        (service(**{**SERVING, "ModelReady": "False:NotFound", "Available": "False:ModelNotReady"}), "Degraded"),
        (service(**{**SERVING, "ModelReady": "Unknown", "Progressing": "True", "Available": "False:X"}), "Progressing"),
        (service(**{**SERVING, "Available": "False:GatewayNotReady"}), "Progressing"),
        (service(**{**SERVING, "Available": "False:Suspended"}), "Suspended"),
        (service(**{**SERVING, "Available": "False:ScaledToZero"}), "Suspended"),
    ],
)
def test_health_is_what_the_status_says(obj, health, tmp_path):
    lua = shutil.which("lua5.1") or shutil.which("lua")
    if lua is None:
        pytest.skip("Lua is missing: the Debian package lua5.1, or any other")
    [check] = load("argocd-cm.yaml")["data"].values()
    script = tmp_path / "check.lua"
    script.write_text(f"obj = {literal(obj)}\nlocal function check()\n{check}\nend\nprint(check().status)\n")
    assert subprocess.run([lua, str(script)], capture_output=True, text=True, check=True).stdout.strip() == health


def literal(value: Any) -> str:
    """The value as Lua source."""
    match value:
        case dict():
            return "{" + ", ".join(f"[{literal(key)}] = {literal(inner)}" for key, inner in value.items()) + "}"
        case list():
            return "{" + ", ".join(map(literal, value)) + "}"
        case str():
            return f'"{value}"'
        case _:
            return str(value)
