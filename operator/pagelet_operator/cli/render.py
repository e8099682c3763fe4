"""`pagelet render`: the Kubernetes objects of a file, as YAML."""

import sys
from pathlib import Path
from typing import Any

import yaml

from pagelet_operator.cli.source import read_service
from pagelet_operator.desired import desired_children, new_revision
from pagelet_operator.model_names import storage_claim
from pagelet_operator.model_state import JobWish, ModelState
from pagelet_operator.release import Release


class _Dumper(yaml.SafeDumper):
    """Writes every object out in full: Kubernetes reads anchors, people do not."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _text)


def render(file: Path, name: str) -> int:
    service = read_service(file, name)
    facts = Release().facts()
    revisions = []
    if storage_claim(service):
        print("pagelet render: the engines come once the model is fetched and its folder known", file=sys.stderr)
    else:
        revisions.append(new_revision(service, facts, 0 if service.spec.suspend else service.spec.replicas))
    model = ModelState(job=JobWish.MAKE) if service.spec.model.source.path is None else None
    objects = desired_children(service, revisions, facts, model=model)
    yaml.dump_all(objects, sys.stdout, Dumper=_Dumper, sort_keys=False, explicit_start=True, width=120)
    return 0
