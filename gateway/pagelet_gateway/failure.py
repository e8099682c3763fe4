"""Why an engine did not answer, and what a client is told about it: the one map from gRPC to HTTP."""

from dataclasses import dataclass

import grpc
from pagelet_api import inference_pb2 as pb
from pagelet_api.openai.errors import OpenAIError, invalid, overloaded, server_error, timed_out, unavailable

_NUMBERS = {code.value[0]: code for code in grpc.StatusCode}
_ELSEWHERE = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED})
RETRY_AFTER_S = 2
"""Where the engine names no time."""


@dataclass(frozen=True, slots=True)
class EngineFailure:
    """A request has ended without an answer."""

    code: grpc.StatusCode
    message: str
    retry_after_ms: int = 0

    @property
    def may_be_its_own_fault(self) -> bool:
        """The engine went away: a few requests in the world take every engine along that computes them."""
        return self.code is grpc.StatusCode.UNAVAILABLE

    @property
    def may_succeed_elsewhere(self) -> bool:
        return self.code in _ELSEWHERE

    def as_error(self) -> OpenAIError:
        """Its HTTP form."""
        retry_after_s = -(-self.retry_after_ms // 1000) or RETRY_AFTER_S
        match self.code:
            case grpc.StatusCode.INVALID_ARGUMENT | grpc.StatusCode.OUT_OF_RANGE | grpc.StatusCode.FAILED_PRECONDITION:
                return invalid(self.message)
            case grpc.StatusCode.RESOURCE_EXHAUSTED:
                return overloaded(self.message, retry_after_s)
            case grpc.StatusCode.UNAVAILABLE | grpc.StatusCode.ABORTED | grpc.StatusCode.CANCELLED:
                return unavailable(self.message, retry_after_s)
            case grpc.StatusCode.DEADLINE_EXCEEDED:
                return timed_out(self.message)
        return server_error(self.message)


def failure_of(error: pb.RequestError) -> EngineFailure:
    code = _NUMBERS.get(error.code, grpc.StatusCode.UNKNOWN)
    return EngineFailure(code, error.message or "the engine gave no reason", error.retry_after_ms)


def lost(address: str) -> EngineFailure:
    return EngineFailure(
        grpc.StatusCode.UNAVAILABLE, f"the engine {address} was lost before the answer was complete; send it again"
    )
