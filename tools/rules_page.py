"""`docs/rules.md`: every rule that refuses a spec, from the tables that check them."""

import re

from configuration_page import table
from pagelet_api.v1alpha1.rules import RULES
from pagelet_operator.acceptance import RULES as ACCEPTANCE_RULES

HEAD = """\
# Rules

Generated from `engine/pagelet_api/v1alpha1/rules.py` and `operator/pagelet_operator/acceptance` by `make generate`. Do
not edit.

What a spec may not say, besides each field's own type and bounds, which are in [configuration.md](configuration.md).

- A rule with **CEL** is checked by the API server: `kubectl apply` fails with the sentence. `pagelet` checks the same
  rules when it reads a file, in the same words.
- A rule with a **reason** needs arithmetic, a cluster or the model itself: the object is stored, its condition
  `Accepted` becomes `False` with that reason and that sentence, and nothing that runs is changed. Rules about the model
  wait until the model Job has read it. Words in *italics* are names and numbers of the case.

"""

TAIL = """
Two more reasons of `Accepted=False` carry sentences that are not ours:

- **RefusedByApiServer**: a new revision's ReplicaSet was tried out (a dry run) and refused. The sentence is the API
  server's own, such as a quota's or an admission webhook's, or what is wrong with a part of `podTemplate`.
- **NotUnderstood**: this operator cannot read the object, because the CustomResourceDefinition of another release let
  it through. The sentence names the fields.
"""


def rules_page() -> str:
    """The page's Markdown."""
    at_the_door = [(f"`{rule.path or 'the object'}`", f"CEL `{rule.cel}`", rule.sentence) for rule in RULES]
    by_the_operator = [(f"`{rule.field}`", f"`{rule.reason}`", _in_words(rule.sentence)) for rule in ACCEPTANCE_RULES]
    return HEAD + table(("field", "refused by", "sentence"), [*at_the_door, *by_the_operator]) + TAIL


def _in_words(sentence: str) -> str:
    """The sentence with the names of its places as a reader sees them."""
    return re.sub(r"\{(\w+)\}", lambda place: f"*{place[1].replace('_', ' ')}*", sentence)
