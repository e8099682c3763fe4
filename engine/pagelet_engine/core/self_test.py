"""Whether the engine still computes numbers: when that is in doubt, and the prompt that it then tries by itself.

Owns the count of rows in a row that were not finite, and the engine's own request. Refuses to know how a request is
scheduled.
"""

from pagelet_engine.core.request import Request
from pagelet_engine.core.sampling import SamplingParams

MAX_NON_FINITE = 32
"""Rows in a row. One is a request's bad luck; so many are one client's bad prompt, sent again and again, or an engine
that serves nobody."""

SELF_TEST_ID = "\0self-test"
"""No client's: theirs are printable (server/validation.py)."""

_PRIORITY = 2**31
"""Before all clients', whose priorities have 32 bits: what waits is not to fail before the engine knows."""


class NonFiniteModelError(Exception):
    """The engine computes no numbers any more; the message says what to look at."""


def self_test_request(token: int, request_id: str = SELF_TEST_ID) -> Request:
    """One token after a prompt of this one, with nothing asked that could exclude any."""
    return Request(request_id, (token,), SamplingParams(max_tokens=1, temperature=0.0), priority=_PRIORITY)


class SelfTest:
    def __init__(self, token: int) -> None:
        """token: the prompt, such as the model's beginning of a sequence."""
        self.num_non_finite = 0
        """Rows that were not finite since the last one that was."""
        self.request: Request | None = None
        """The engine's own, while it is in progress."""
        self.num_runs = 0
        self._token = token

    @property
    def is_due(self) -> bool:
        return self.num_non_finite >= MAX_NON_FINITE and self.request is None

    def begin(self) -> Request:
        """The request to schedule now."""
        self.num_runs += 1
        self.request = self_test_request(self._token)
        return self.request

    def note_non_finite(self, request: Request) -> None:
        """Of a row of this request. Raises NonFiniteModelError if it is the engine's own."""
        self.num_non_finite += 1
        if request is self.request:
            raise NonFiniteModelError(
                f"the model computed NaN or infinity for {self.num_non_finite} samples in a row, one of them of the "
                "engine's own prompt: the weights or the device are broken, or numbers leave the range of the dtype: "
                "where that is float16, use bfloat16"
            )

    def note_end(self, request: Request) -> None:
        """The request has ended with a token."""
        if request is self.request:
            self.request = None
