"""What a revision is: everything about the engine pods that cannot change while they run.

Owns the question "does this edit need new engines?", answered by a hash. Knows no Kubernetes objects but the pod
template that a revision was rendered to.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pagelet_api.v1alpha1 import InferenceServiceSpec

HASH_LENGTH = 10
# Kubernetes' own alphabet for generated names: no vowels, nor what looks like one, so that a hash never spells a word.
_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"
_RESTART_FIELDS = frozenset({"model", "engine", "resources", "accelerator", "pod_template", "restarted_at"})


@dataclass(frozen=True, slots=True)
class Revision:
    """Rendered once, when the revision came up, and never again: an upgraded operator changes only later revisions."""

    hash: str
    replicas: int
    """Engine pods wanted of this revision: the one thing about it that changes."""
    config: str
    """The engine's configuration file."""
    pod_template: Mapping[str, Any]
    """metadata and spec of the engine pods, in the API's form."""

    def name(self, service_name: str) -> str:
        """The name of the revision's ReplicaSet and ConfigMap; at most 63 characters for a service name of 40."""
        return f"{service_name}-{self.hash}"


def revision_hash(spec: InferenceServiceSpec) -> str:
    """Name the fields that need an engine restart. Defaults count as absent, so a new field changes no old hash."""
    fields = spec.model_dump(mode="json", by_alias=True, include=set(_RESTART_FIELDS), exclude_defaults=True)
    return content_hash(json.dumps(fields, sort_keys=True, separators=(",", ":")))


def content_hash(text: str) -> str:
    """A short name for `text`, fit for the name of an object; 47 bits, enough for the handful that one object has."""
    number = int.from_bytes(hashlib.sha256(text.encode()).digest())
    letters = []
    for _ in range(HASH_LENGTH):
        number, letter = divmod(number, len(_ALPHABET))
        letters.append(_ALPHABET[letter])
    return "".join(letters)
