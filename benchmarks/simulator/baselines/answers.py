"""What both baselines remember of a request, and how they tell what has changed."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from pagelet_engine.core.load import LoadSnapshot
from pagelet_engine.core.request import FinishReason, PromptReport, Request, RequestUpdate, SampleUpdate


@dataclass(slots=True)
class Answer:
    """One request on its way; baselines know no n > 1."""

    request: Request
    number: int
    computed: int = 0
    """Tokens with keys and values."""
    tokens: list[int] = field(default_factory=list)
    """What was drawn."""

    @property
    def length(self) -> int:
        return len(self.request.prompt) + len(self.tokens)

    @property
    def is_finished(self) -> bool:
        return len(self.tokens) == self.request.sampling.max_tokens

    def update(self, tokens: Sequence[int]) -> RequestUpdate:
        """These tokens are the last that were drawn."""
        is_first = len(self.tokens) == len(tokens)
        reason = FinishReason.LENGTH if self.is_finished else None
        told = SampleUpdate(0, tuple(tokens), finish_reason=reason, number=self.number if is_first else None)
        report = PromptReport(len(self.request.prompt), 0) if is_first else None
        return RequestUpdate(self.request.id, (told,), report, self.is_finished)


def load(step: int, running: int, waiting: int, slots_total: int, slots_in_use: int) -> LoadSnapshot:
    """A block is one slot here; nothing is cached, and nobody is preempted."""
    return LoadSnapshot(step, running, waiting, slots_total, slots_in_use, 0, 0, 0, 0)
