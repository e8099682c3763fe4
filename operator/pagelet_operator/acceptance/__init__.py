"""Whether a spec that the schema allows can be served: rules that need arithmetic, a cluster, or the model itself.

One table, from which the sentences shown and the page docs/rules.md come. Looks at no cluster: what may change without
the spec (quotas, free devices) is no reason to refuse it.
"""

from dataclasses import dataclass

from pagelet_api.model_report import ModelFacts
from pagelet_api.v1alpha1 import InferenceService

from pagelet_operator.acceptance.devices import DEVICE_RULES
from pagelet_operator.acceptance.memory import MEMORY_RULES
from pagelet_operator.acceptance.pod_template import POD_TEMPLATE_RULES
from pagelet_operator.acceptance.rule import Numbers, Rule

__all__ = ["RULES", "Refusal", "Rule", "refusal"]


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a spec is not accepted."""

    reason: str
    """One word, for the condition Accepted."""
    message: str
    """The field, what was wanted, what was found, what to do."""


def _path_in_a_cluster(service: InferenceService, model: ModelFacts | None) -> Numbers | None:
    return None if service.spec.model.source.path is None else {}


RULES: tuple[Rule, ...] = (
    Rule(
        "PathInCluster",
        "spec.model.source.path",
        "spec.model.source.path: a folder of one machine, for `pagelet up` alone; in a cluster, give pvc, s3 or "
        "huggingFace",
        _path_in_a_cluster,
    ),
    *DEVICE_RULES,
    *MEMORY_RULES,
    *POD_TEMPLATE_RULES,
)
"""In the order in which they are checked; of several that are broken, the first is shown."""


def refusal(service: InferenceService, model: ModelFacts | None) -> Refusal | None:
    """The first rule that `service` breaks; None: it is accepted. Without `model`, rules about the model wait."""
    for rule in RULES:
        numbers = rule.broken_by(service, model)
        if numbers is not None:
            return Refusal(rule.reason, rule.sentence.format(**numbers))
    return None
