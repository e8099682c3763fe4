"""What the model Job tells the operator: what it found, or why it failed, as its container's termination message.

Kubernetes keeps at most 4096 bytes of it (`terminationMessagePath`), so a report holds numbers, not files.
"""

from enum import StrEnum
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from pagelet_api.sizes import ModelShape

MAX_BYTES = 4096
_LONGEST_MESSAGE = 1900


class FailureReason(StrEnum):
    """One word for the condition ModelReady; who can mend it is in the message."""

    SOURCE_NOT_FOUND = "SourceNotFound"  # no such bucket, prefix, repository, folder
    WRONG_CREDENTIALS = "WrongCredentials"
    CERTIFICATE_REFUSED = "CertificateRefused"  # the endpoint's certificate is not signed by a CA that is trusted
    SOURCE_UNREACHABLE = "SourceUnreachable"  # no answer, or one that says "later"
    DIGEST_MISMATCH = "DigestMismatch"
    MODEL_NOT_SUPPORTED = "ModelNotSupported"  # an architecture we lack, pickle weights, no tokenizer
    MODEL_INCOMPLETE = "ModelIncomplete"
    TOO_LITTLE_STORAGE = "TooLittleStorage"
    INTERNAL = "Internal"


class _Message(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="ignore", alias_generator=to_camel, populate_by_name=True, protected_namespaces=()
    )


class ModelFacts(_Message):
    """A verified model. Sizes in bytes."""

    digest: str
    """Of the folder's manifest, "sha256:…"; empty when nothing was fetched yet (ephemeral storage, and a source without
    a manifest)."""
    folder: str
    """Where in the volume the model folder is, relative to the volume's root; empty: the root itself."""
    revision: str = ""
    """The commit that a branch or tag of a repository was when it was looked at; empty for other sources."""
    num_bytes: Annotated[int, Field(ge=0)]
    """Of all files of the folder."""
    shape: ModelShape
    """The numbers of its config.json."""


class ModelFailure(_Message):
    """Why there is no model."""

    reason: FailureReason
    message: str
    """A sentence a person can act on. Holds no secret."""


class ModelReport(_Message):
    """Exactly one of the two."""

    facts: ModelFacts | None = None
    failure: ModelFailure | None = None

    def to_json(self) -> str:
        """At most MAX_BYTES of UTF-8; a longer failure message is cut."""
        report = self
        if self.failure:
            message = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in self.failure.message)
            if len(message.encode()) > _LONGEST_MESSAGE:
                message = message.encode()[:_LONGEST_MESSAGE].decode(errors="ignore") + "…"
            # Quotes and backslashes are the only printable characters that JSON escapes, to twice their length.
            report = self.model_copy(update={"failure": self.failure.model_copy(update={"message": message})})
        text = report.model_dump_json(by_alias=True, exclude_none=True)
        assert len(text.encode()) <= MAX_BYTES, len(text)
        return text

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """None when `text` is no report: a container that was killed leaves whatever it left."""
        try:
            report = cls.model_validate_json(text)
        except ValidationError:
            return None
        return report if (report.facts is None) != (report.failure is None) else None
