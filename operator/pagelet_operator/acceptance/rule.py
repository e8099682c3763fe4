"""What a rule of acceptance is."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from pagelet_api.model_report import ModelFacts
from pagelet_api.v1alpha1 import InferenceService

Numbers = Mapping[str, object]
"""What stands in the places of a rule's sentence."""


@dataclass(frozen=True, slots=True)
class Rule:
    reason: str
    """One word, for the condition Accepted."""
    field: str
    """The field to change."""
    sentence: str
    """Shown to the user; {name} stands for a number or a name of the case."""
    broken_by: Callable[[InferenceService, ModelFacts | None], Numbers | None]
    """None: the rule holds, or cannot be judged before the model is known."""
