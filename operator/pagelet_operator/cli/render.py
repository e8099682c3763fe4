"""`pagelet render`: the Kubernetes objects of a file, as YAML."""

import sys
from pathlib import Path
from typing import Any

import yaml

from pagelet_operator.cli.source import read_service
from pagelet_operator.desired import Facts, desired_children, new_revision
from pagelet_operator.release import engine_image, gateway_image


class _Dumper(yaml.SafeDumper):
    """Writes every object out in full: Kubernetes reads anchors, people do not."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _text)


def render(file: Path, name: str) -> int:
    service = read_service(file, name)
    facts = Facts(engine_image=engine_image(), gateway_image=gateway_image())
    revision = new_revision(service, facts, 0 if service.spec.suspend else service.spec.replicas)
    objects = desired_children(service, [revision], facts)
    yaml.dump_all(objects, sys.stdout, Dumper=_Dumper, sort_keys=False, explicit_start=True, width=120)
    return 0
