"""Whether a request can ever be answered here, judged on arrival, for one sample, with the numbers.

Refuses to know what is running: a full house is a reason to wait, never to refuse.
"""

from dataclasses import dataclass

from pagelet_engine.core.request import RejectReason, Request, RequestRejected


@dataclass(frozen=True, slots=True)
class Capacity:
    """What one sample can have when it has everything."""

    max_model_len: int
    """Tokens of prompt and output the model is allowed."""
    num_blocks: int
    block_size: int

    @property
    def max_length(self) -> int:
        """Tokens of prompt and output that one sample can really have."""
        return min(self.max_model_len, self.num_blocks * self.block_size)

    def judge(self, request: Request) -> None:
        """Raises RequestRejected with a sentence if the request can never be answered."""
        prompt, wanted = len(request.prompt), request.sampling.max_tokens
        if not prompt:
            raise RequestRejected(RejectReason.INVALID, "the prompt is empty; at least one token is needed")
        if request.sampling.n < 1 or (wanted is not None and wanted < 1):
            raise RequestRejected(
                RejectReason.INVALID, f"n and max_tokens must be at least 1, found {request.sampling.n} and {wanted}"
            )
        if prompt + (wanted or 1) <= self.max_length:
            return
        asked = f"{prompt} prompt tokens + {wanted} output tokens (max_tokens) = {prompt + (wanted or 1)}"
        if wanted is None:
            asked = f"{prompt} prompt tokens + at least 1 output token = {prompt + 1}"
        raise RequestRejected(
            RejectReason.NEVER_FITS,
            f"{asked} tokens, but one sample can have {self._explain()}; shorten the prompt or lower max_tokens",
        )

    def _explain(self) -> str:
        if self.max_length == self.max_model_len:
            return f"at most {self.max_model_len} (max_model_len)"
        return (
            f"at most {self.max_length} ({self.num_blocks} KV blocks × {self.block_size} tokens, "
            f"less than max_model_len = {self.max_model_len})"
        )
