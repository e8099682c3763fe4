"""Rules that a field's own type cannot state: one table for the API server (CEL) and for a local file (Python).

Each rule is written twice, side by side, with one sentence for the user: what the cluster refuses, `pagelet up` refuses
in the same words.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

from pagelet_api.v1alpha1.inference_service import InferenceService

# Children append a revision's hash and must stay within the 63 characters of a DNS label; Services begin with a letter.
MAX_NAME = 40
_NAME = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")


@dataclass(frozen=True, slots=True)
class Rule:
    """`cel` is evaluated at `path` ("" is the root) by the API server; `holds` is the same for a parsed file."""

    path: str
    cel: str
    sentence: str
    holds: Callable[[InferenceService], bool]


RULES = (
    Rule(
        path="",
        cel="self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",
        sentence="metadata.name: wanted lower-case letters, digits and '-', first a letter and last no '-'",
        holds=lambda service: bool(_NAME.fullmatch(service.metadata.name)),
    ),
    Rule(
        path="",
        cel=f"size(self.metadata.name) <= {MAX_NAME}",
        sentence=f"metadata.name: wanted at most {MAX_NAME} characters, because the names of child objects add to it",
        holds=lambda service: len(service.metadata.name) <= MAX_NAME,
    ),
    Rule(
        path="spec.model.source",
        cel="[has(self.path)].filter(given, given).size() == 1",
        sentence="spec.model.source: give exactly one source: path",
        holds=lambda service: len(service.spec.model.source.model_dump(exclude_none=True)) == 1,
    ),
    Rule(
        path="spec.model",
        cel="!(self.name in self.aliases)",
        sentence="spec.model.aliases: an alias is the same as spec.model.name; remove it",
        holds=lambda service: service.spec.model.name not in service.spec.model.aliases,
    ),
    Rule(
        path="spec.engine",
        cel="self.maxNumBatchedTokens >= self.maxNumSeqs",
        sentence=(
            "spec.engine: maxNumBatchedTokens is below maxNumSeqs, but a step computes at least one token of each "
            "sample; raise maxNumBatchedTokens or lower maxNumSeqs"
        ),
        holds=lambda service: service.spec.engine.max_num_batched_tokens >= service.spec.engine.max_num_seqs,
    ),
)
