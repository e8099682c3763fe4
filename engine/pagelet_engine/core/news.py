"""What has changed since it was last asked: the usual in its leanest form, everything else as updates.

Nearly all that an engine ever says is "one more token for this sample", so that is two lists that grow, and no object a
token. Who wants one form for all reads the news as a sequence of updates.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from pagelet_engine.core.request import RequestUpdate, SampleUpdate
from pagelet_engine.core.sample import Sample


@dataclass(frozen=True, slots=True)
class News:
    """Iterating gives all of it as updates, in order."""

    drawn_by: list[Sample] = field(default_factory=list)
    """Samples with one more token, and nothing else that is new; each has been named in an update before."""
    drawn: list[int] = field(default_factory=list)
    """One token each."""
    updates: list[RequestUpdate] = field(default_factory=list)
    """Later than what was drawn; one a request."""

    def __iter__(self) -> Iterator[RequestUpdate]:
        for sample, token in zip(self.drawn_by, self.drawn, strict=True):
            yield RequestUpdate(sample.request.request.id, (SampleUpdate(sample.index, (token,)),))
        yield from self.updates
