"""Why a request is not served, in gRPC's numbers: one place maps reasons to codes.

Refuses to import grpc: the core speaks of refusals too, and has no use for the rest.
"""

from enum import IntEnum

from pagelet_api import inference_pb2 as pb

from pagelet_engine.core.request import RejectReason

RETRY_AFTER_MS = 1000
"""What a client is told to wait where nobody knows better."""


class Code(IntEnum):
    """The gRPC status codes that a request can end with (https://grpc.io/docs/guides/status-codes)."""

    CANCELLED = 1
    INVALID_ARGUMENT = 3
    ALREADY_EXISTS = 6
    RESOURCE_EXHAUSTED = 8
    ABORTED = 10
    INTERNAL = 13
    UNAVAILABLE = 14


CODES = {
    RejectReason.NEVER_FITS: Code.INVALID_ARGUMENT,
    RejectReason.INVALID: Code.INVALID_ARGUMENT,
    RejectReason.QUEUE_FULL: Code.RESOURCE_EXHAUSTED,
    RejectReason.TOO_LATE: Code.RESOURCE_EXHAUSTED,
    RejectReason.DUPLICATE: Code.ALREADY_EXISTS,
    RejectReason.DRAINING: Code.UNAVAILABLE,
}

_WORTH_RETRYING = {Code.RESOURCE_EXHAUSTED, Code.UNAVAILABLE}


def refusal(request_id: str, code: Code, message: str, retry_after_s: float = 0.0) -> pb.RequestUpdate:
    """The only update of a request that ends without an answer; 0: whoever asks again guesses when."""
    retry_after_ms = (round(1000 * retry_after_s) or RETRY_AFTER_MS) if code in _WORTH_RETRYING else 0
    error = pb.RequestError(code=code, message=message, retry_after_ms=retry_after_ms)
    return pb.RequestUpdate(request_id=request_id, error=error, finished=True)
