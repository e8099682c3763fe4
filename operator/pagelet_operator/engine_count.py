"""How many engines are wanted, where several may say so: a file, an autoscaler, `kubectl scale`, or only the schema.

Server-side apply removes a field that its last owner lets go of, and the schema's default appears in its place; nobody
wants engines stopped for that. But the API server notes no owner for what came through a custom resource's /scale, so a
number without an owner is judged by what went before, which is kept in one annotation. Pure.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Self

from pagelet_api import names
from pagelet_api.v1alpha1 import InferenceServiceSpec

ENGINE_COUNT_ANNOTATION = f"{names.GROUP}/engine-count"
_DEFAULT: int = InferenceServiceSpec.model_fields["replicas"].default


class Origin(StrEnum):
    OWNED = "owned"  # some field manager says this number
    SCALED = "scaled"  # through /scale, or never said by anybody
    KEPT = "kept"  # its owner has let go, and nobody has said anything since


@dataclass(frozen=True, slots=True)
class EngineCount:
    number: int
    origin: Origin

    def __str__(self) -> str:
        return f"{self.number} {self.origin}"

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """None for what `str` did not write."""
        number, _, origin = text.partition(" ")
        if not number.isdecimal() or origin not in set(Origin):
            return None
        return cls(int(number), Origin(origin))


def engine_count(replicas: int, owned: bool, before: EngineCount | None) -> EngineCount:
    """`replicas` as the spec has it now, whether somebody owns the field, and what was wanted until now."""
    if owned:
        return EngineCount(replicas, Origin.OWNED)
    let_go = before is not None and before.origin in (Origin.OWNED, Origin.KEPT)
    if replicas == _DEFAULT and before is not None and let_go:
        return EngineCount(before.number, Origin.KEPT)
    return EngineCount(replicas, Origin.SCALED)
