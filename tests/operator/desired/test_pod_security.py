"""Every pod that is rendered satisfies the restricted Pod Security Standard, whatever its user adds to it."""

import copy
from typing import Any

import pytest
from hypothesis import given, settings
from pagelet_api.v1alpha1 import InferenceService

from ..conftest import document, in_cluster
from .conftest import of, one, pod_templates, render
from .pod_security import RULES, violations


@given(in_cluster())
@settings(max_examples=50)
def test_every_pod_satisfies_the_restricted_standard(service: InferenceService) -> None:
    for template in pod_templates(render(service)):
        assert violations(template) == []
        assert template["spec"]["automountServiceAccountToken"] is False


@given(in_cluster())
@settings(max_examples=30)
def test_our_own_containers_write_to_their_volumes_alone(service: InferenceService) -> None:
    for template in pod_templates(render(service)):
        for container in (*template["spec"]["containers"], *template["spec"].get("initContainers", ())):
            if container["name"] in ("engine", "gateway", "fetch"):
                assert container["securityContext"]["readOnlyRootFilesystem"] is True


@pytest.mark.parametrize(
    ("path", "value", "broken"),
    [
        (("hostNetwork",), True, "Host Namespaces"),
        (("volumes",), [{"name": "v", "hostPath": {"path": "/"}}], "HostPath Volumes"),
        (("securityContext", "runAsNonRoot"), False, "Running as Non-root"),
        (("securityContext", "runAsUser"), 0, "Running as Non-root user"),
        (("securityContext", "seccompProfile"), {"type": "Unconfined"}, "Seccomp"),
        (("containers", 0, "securityContext", "privileged"), True, "Privileged Containers"),
        (("containers", 0, "securityContext", "allowPrivilegeEscalation"), True, "Privilege Escalation"),
        (("containers", 0, "securityContext", "capabilities"), {"drop": ["NET_RAW"]}, "Capabilities: all dropped"),
        (("containers", 0, "ports"), [{"containerPort": 1, "hostPort": 1}], "Host Ports"),
    ],
)
def test_the_list_sees_what_breaks_it(path: tuple[Any, ...], value: Any, broken: str) -> None:
    template = copy.deepcopy(one(of(document()), "Deployment")["spec"]["template"])
    assert violations(template) == []
    place = template["spec"]
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    assert broken in violations(template)
    assert broken in RULES
