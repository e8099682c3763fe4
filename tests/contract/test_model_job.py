"""The model Job as the operator renders it, run by the fetcher as it is: one command line for both."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pagelet_api import names
from pagelet_api.model_report import FailureReason, ModelReport
from pagelet_api.v1alpha1 import load_inference_service
from pagelet_operator.desired import KubernetesObject, desired_children, new_revision
from pagelet_operator.local.expansion import rewrite_paths
from pagelet_operator.model_state import JobWish, ModelState
from pagelet_operator.release import Release

PVC = {"source": {"pvc": {"claimName": "models"}}, "digest": f"sha256:{'a' * 64}"}
S3 = {"uri": "s3://models/m", "credentialsSecretRef": {"name": "keys"}, "caBundleRef": {"configMap": "ca"}}
STORED = {"source": {"s3": S3}, "storage": {"pvc": {"size": "5Gi"}}}
HUB = {"source": {"huggingFace": {"repo": "org/m"}}, "storage": {"ephemeral": {}}}


def fetching(model: dict[str, Any]) -> tuple[list[KubernetesObject], str]:
    """Every container that fetches, and the source's file."""
    fields = {"apiVersion": "pagelet.io/v1alpha1", "kind": "InferenceService", "metadata": {"name": "smol"}}
    service = load_inference_service({**fields, "spec": {"model": model}})
    facts = Release().facts()
    children = desired_children(service, [], facts, model=ModelState(job=JobWish.MAKE))
    [job] = [child for child in children if child["kind"] == "Job"]
    [source] = [child["data"]["source.json"] for child in children if "source.json" in child.get("data", {})]
    containers = [job["spec"]["template"]["spec"]["containers"][0]]
    if "ephemeral" in model.get("storage", {}):
        containers += new_revision(service, facts, 1).pod_template["spec"]["initContainers"]
    return containers, source


def run(arguments: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize("model", [PVC, STORED, HUB], ids=["pvc", "stored", "ephemeral"])
def test_every_argument_is_one_that_the_fetcher_knows(model: dict[str, Any]) -> None:
    containers, _ = fetching(model)
    known = set(re.findall(r"--[a-z-]+", run(["-m", "pagelet_engine.fetcher", "--help"]).stdout))
    for container in containers:
        assert container["command"] == ["python", "-m", "pagelet_engine.fetcher"]
        assert {word for word in container["args"] if word.startswith("--")} <= known


def test_the_job_over_an_empty_claim_reports_in_words_that_the_operator_reads(tmp_path: Path) -> None:
    [container], source = fetching(PVC)
    folders = {}
    for mount in container["volumeMounts"]:
        folders[mount["mountPath"]] = str(tmp_path / mount["name"])
        (tmp_path / mount["name"]).mkdir()
    (tmp_path / "config" / "source.json").write_text(source)
    report = tmp_path / "report"
    folders[names.TERMINATION_LOG] = str(report)
    ended = run([*container["command"][1:], *(rewrite_paths(word, folders) for word in container["args"])])
    assert ended.returncode == 1, ended.stderr
    found = ModelReport.parse(report.read_text())
    assert found is not None
    assert found.failure is not None
    assert found.failure.reason in (FailureReason.SOURCE_NOT_FOUND, FailureReason.MODEL_INCOMPLETE)
