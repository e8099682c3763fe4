"""Where a model comes from, and where it is kept: `spec.model.source` and `spec.model.storage`.

Every reference is to an object of the same namespace.
"""

from typing import Annotated

from pydantic import Field

from pagelet_api.quantities import Memory
from pagelet_api.v1alpha1.part import Part

ObjectName = Annotated[str, Field(min_length=1, max_length=253, pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")]
Key = Annotated[str, Field(min_length=1, max_length=253, pattern=r"^[-._a-zA-Z0-9]+$")]
# Relative, and nowhere upwards: no empty part, no "." and no "..".
RELATIVE_PATH_PATTERN = r"^(([^/.]|\.[^/.]|\.\.[^/])[^/]*(/([^/.]|\.[^/.]|\.\.[^/])[^/]*)*)?$"
RelativePath = Annotated[str, Field(max_length=1024, pattern=RELATIVE_PATH_PATTERN)]
S3_URI_PATTERN = r"^s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/.*)?$"
HTTP_URL_PATTERN = r"^(https?://[^/?#@ ]+(/[^?# ]*)?)?$"
REPOSITORY_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)?$"


class SecretRef(Part):
    """A Secret, all of it."""

    name: ObjectName
    """Of the Secret."""


class SecretKeyRef(Part):
    """One key of a Secret."""

    name: ObjectName
    """Of the Secret."""
    key: Key = "token"
    """Its key that holds the value."""


class CaBundleRef(Part):
    """Certificates to trust, in PEM form: exactly one of configMap and secret."""

    config_map: ObjectName | None = None
    """A ConfigMap that holds them."""
    secret: ObjectName | None = None
    """A Secret that holds them."""
    key: Key = "ca.crt"
    """The key under which it holds them."""


class PvcSource(Part):
    """A model folder on a PersistentVolumeClaim, served where it lies."""

    claim_name: ObjectName
    """Of the claim. Replicas on several nodes need one that can be mounted by many (ReadOnlyMany, ReadWriteMany)."""
    path: RelativePath = ""
    """The model folder inside the volume; empty: its root."""


class S3Source(Part):
    """Objects under a prefix of an S3 bucket: a model folder, or a Hugging Face folder."""

    uri: Annotated[str, Field(max_length=1024, pattern=S3_URI_PATTERN)]
    """Such as s3://models/mistral-7b-support."""
    endpoint: Annotated[str, Field(max_length=1024, pattern=HTTP_URL_PATTERN)] = ""
    """Of the S3 service, such as https://rgw.storage.example; empty: AWS."""
    region: Annotated[str, Field(max_length=64)] = ""
    """Empty: us-east-1, which services other than AWS take."""
    path_style: bool = True
    """true: the bucket is in the path, as Ceph serves it; false: it is in the host's name."""
    credentials_secret_ref: SecretRef | None = None
    """A Secret with AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; left out: no signature, for a public bucket."""
    ca_bundle_ref: CaBundleRef | None = None
    """The certificate authority of the endpoint, where it is your own."""


class HuggingFaceSource(Part):
    """A repository of a Hugging Face hub, or of a mirror that speaks its HTTP API."""

    repo: Annotated[str, Field(max_length=200, pattern=REPOSITORY_PATTERN)]
    """Such as mistralai/Mistral-7B-Instruct-v0.3."""
    revision: Annotated[str, Field(min_length=1, max_length=200)] = "main"
    """Branch, tag or commit. A commit never changes; of a branch, what it is when the model is fetched."""
    endpoint: Annotated[str, Field(max_length=1024, pattern=HTTP_URL_PATTERN)] = ""
    """Of the hub; empty: https://huggingface.co."""
    token_secret_ref: SecretKeyRef | None = None
    """The token of a repository that is not public."""


class ModelSource(Part):
    """Where the model folder comes from: exactly one of the fields."""

    path: Annotated[str, Field(min_length=1, max_length=1024)] | None = None
    """A model folder on this machine, for `pagelet up` alone. A relative path begins at the folder of this file."""
    pvc: PvcSource | None = None
    """A model folder on a PersistentVolumeClaim, served where it lies."""
    s3: S3Source | None = None
    """Objects under a prefix of an S3 bucket."""
    hugging_face: HuggingFaceSource | None = None
    """A repository of a Hugging Face hub."""

    @property
    def is_fetched(self) -> bool:
        """Whether it has to be brought into the cluster first, by the model Job."""
        return self.s3 is not None or self.hugging_face is not None


class EphemeralStorage(Part):
    """Fetched by every pod, into a folder that goes with it."""

    size_limit: Memory = Memory("40Gi")
    """The most the model may take of the node's disk."""


class PvcStorage(Part):
    """Fetched once, into a volume that all replicas share: a claim of yours, or one that is made."""

    claim_name: Annotated[str, Field(max_length=253, pattern=r"^([a-z0-9]([-a-z0-9.]*[a-z0-9])?)?$")] = ""
    """A claim that exists; several services may share it."""
    size: Memory | None = None
    """Size of the claim to make."""
    storage_class_name: Annotated[str, Field(max_length=253)] = ""
    """Storage class of the claim to make; empty: the cluster's default. It must be ReadWriteMany."""
    retain: bool = True
    """true: the claim that was made outlives the InferenceService."""


class ModelStorage(Part):
    """Where a fetched model lives: exactly one of the fields."""

    ephemeral: EphemeralStorage | None = None
    """Fetched by every pod, into a folder that goes with it."""
    pvc: PvcStorage | None = None
    """Fetched once, into a volume that all replicas share; its folders are named by digest."""
