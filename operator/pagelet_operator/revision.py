"""What a revision is: everything about the engine pods that cannot change while they run.

Owns the question "does this edit need new engines?", answered by a hash, and the form in which a revision is kept: the
data of an immutable ConfigMap. Knows no Kubernetes objects but the pod template that a revision was rendered to.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from pagelet_api import names
from pagelet_api.v1alpha1 import InferenceServiceSpec

from pagelet_operator.normal_form import normal_form

HASH_LENGTH = 10
# Kubernetes' own alphabet for generated names: no vowels, nor what looks like one, so that a hash never spells a word.
_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"
_RESTART_FIELDS = frozenset({"model", "engine", "resources", "accelerator", "podTemplate", "restartedAt"})
# How a claim is made is no business of the engines that mount it.
_CLAIM_FIELDS = frozenset({"size", "storageClassName", "retain"})

POD_TEMPLATE_FILE = "pod-template.json"
SOURCE_FILE = "source.json"
"""What a fetching container reads: `pagelet_api.config.FetcherConfig`."""
SURGE_REFUSED_ANNOTATION = f"{names.GROUP}/surge-refused"
"""On a revision's ReplicaSet: no device was free for its surge pod in time, so it goes in place."""
MODEL_ANNOTATION = f"{names.GROUP}/model"
"""On engine pods: the key of the model (`model_names.model_key`) that they serve."""


class RevisionError(ValueError):
    """Data that is no revision; the message says what is wrong with it."""


@dataclass(frozen=True, slots=True)
class Revision:
    """Rendered once, when the revision came up, and never again: an upgraded operator changes only later revisions."""

    hash: str
    replicas: int
    """Engine pods wanted of this revision: with `surge_refused`, all about it that changes."""
    config: str
    """The engine's configuration file."""
    pod_template: Mapping[str, Any]
    """metadata and spec of the engine pods, in the API's form."""
    source: str = ""
    """The fetching init container's file; empty: the model is in a volume already."""
    surge_refused: bool = False

    @classmethod
    def read(
        cls, revision_hash: str, data: Mapping[str, str], *, replicas: int = 0, surge_refused: bool = False
    ) -> Self:
        """The revision that a ConfigMap holds. Raises RevisionError."""
        try:
            config, template = data[names.CONFIG_FILE], json.loads(data[POD_TEMPLATE_FILE])
        except KeyError as error:
            raise RevisionError(f"revision {revision_hash}: its ConfigMap has no key {error}") from error
        except ValueError as error:
            raise RevisionError(f"revision {revision_hash}: {POD_TEMPLATE_FILE} is not JSON: {error}") from error
        return cls(revision_hash, replicas, config, template, data.get(SOURCE_FILE, ""), surge_refused)

    @property
    def data(self) -> dict[str, str]:
        """What its ConfigMap holds: everything but `replicas` and `surge_refused`, which are the ReplicaSet's."""
        template = json.dumps(self.pod_template, sort_keys=True, separators=(",", ":"))
        files = {names.CONFIG_FILE: self.config, POD_TEMPLATE_FILE: template, SOURCE_FILE: self.source}
        return {name: text for name, text in files.items() if text}

    @property
    def model_key(self) -> str:
        """The key of the model that its pods serve; empty: a folder of this machine."""
        return str(self.pod_template.get("metadata", {}).get("annotations", {}).get(MODEL_ANNOTATION, ""))

    def name(self, service_name: str) -> str:
        """The name of the revision's ReplicaSet and ConfigMap; at most 63 characters for a service name of 40."""
        return f"{service_name}-{self.hash}"


def revision_hash(spec: InferenceServiceSpec) -> str:
    """Name the fields that need an engine restart, however they are spelled."""
    fields = {name: value for name, value in normal_form(spec).items() if name in _RESTART_FIELDS}
    claim = fields["model"].get("storage", {}).get("pvc", {})
    for name in _CLAIM_FIELDS & claim.keys():
        del claim[name]
    return content_hash(json.dumps(fields, sort_keys=True, separators=(",", ":")))


def content_hash(text: str) -> str:
    """A short name for `text`, fit for the name of an object; 47 bits, enough for the handful that one object has."""
    number = int.from_bytes(hashlib.sha256(text.encode()).digest())
    letters = []
    for _ in range(HASH_LENGTH):
        number, letter = divmod(number, len(_ALPHABET))
        letters.append(_ALPHABET[letter])
    return "".join(letters)
