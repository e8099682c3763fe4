"""The chart as Helm renders it, parsed."""

import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "charts" / "pagelet"
NAMESPACE = "pagelet-system"

Object = dict[str, Any]


class HelmError(Exception):
    """Helm refused; the message is Helm's."""


class _Strict(yaml.SafeLoader):
    """Refuses a key that is there twice: which of the two counts, readers of YAML do not agree."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key) for key, _ in node.value]
        assert len(keys) == len(set(keys)), f"a key twice: {keys}{node.start_mark}"
        return super().construct_mapping(node, deep)


@dataclass(frozen=True)
class Helm:
    program: str
    home: Path

    def render(self, *flags: str, release: str = "pagelet", namespace: str = NAMESPACE) -> list[Object]:
        """All objects of an installation, its tests included. Raises HelmError."""
        text = self.run("template", release, str(CHART), "--namespace", namespace, *flags)
        return [obj for obj in yaml.load_all(text, _Strict) if obj]

    def run(self, *arguments: str) -> str:
        homes = {f"HELM_{kind}_HOME": str(self.home / kind) for kind in ("CACHE", "CONFIG", "DATA")}
        done = subprocess.run(
            [self.program, *arguments], env={**os.environ, **homes}, check=False, capture_output=True, text=True
        )
        if done.returncode != 0:
            raise HelmError(done.stdout + done.stderr)
        return done.stdout


def of_kind(objects: Sequence[Object], *kinds: str) -> list[Object]:
    return [obj for obj in objects if obj["kind"] in kinds]


def named(objects: Sequence[Object], kind: str, name: str) -> Object:
    found = [obj for obj in of_kind(objects, kind) if obj["metadata"]["name"] == name]
    assert len(found) == 1, f"{len(found)} of {kind}/{name} among {[obj['metadata']['name'] for obj in objects]}"
    return found[0]


def deployment(objects: Sequence[Object]) -> Object:
    [found] = of_kind(objects, "Deployment")
    return found


def pod_specs(objects: Sequence[Object]) -> list[Object]:
    deployments = [obj["spec"]["template"]["spec"] for obj in of_kind(objects, "Deployment")]
    return [*deployments, *(obj["spec"] for obj in of_kind(objects, "Pod"))]
