"""OpenAI's error shape: `{"error": {"message", "type", "param", "code"}}`, and which status goes with which kind."""

from collections.abc import Mapping
from typing import TypedDict


class ErrorDetail(TypedDict):
    message: str
    type: str
    param: str | None
    code: str | None


class ErrorBody(TypedDict):
    error: ErrorDetail


class OpenAIError(Exception):
    """An answer that is an error; the message says what was wanted, what was found, and what to do.

    `retry_after_s`: seconds after which the same request may succeed; None where a retry cannot help.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        type: str = "invalid_request_error",
        param: str | None = None,
        code: str | None = None,
        retry_after_s: int | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.type = type
        self.param = param
        self.code = code
        self.retry_after_s = retry_after_s

    def body(self) -> ErrorBody:
        return {"error": {"message": self.message, "type": self.type, "param": self.param, "code": self.code}}

    def headers(self) -> Mapping[str, str]:
        """What the official clients read: when to retry, and whether to."""
        if self.retry_after_s is not None:
            return {"retry-after": str(self.retry_after_s)}
        return {"x-should-retry": "false"} if self.status >= 500 else {}


def invalid(message: str, param: str | None = None, code: str | None = "invalid_value") -> OpenAIError:
    """400: the request itself is wrong."""
    return OpenAIError(400, message, param=param, code=code)


def model_not_found(model: str) -> OpenAIError:
    return OpenAIError(
        404,
        f"The model {model[:200]!r} does not exist here. GET /v1/models lists the models that do.",
        param="model",
        code="model_not_found",
    )


def context_length_exceeded(prompt_tokens: int, max_tokens: int, max_model_len: int, param: str) -> OpenAIError:
    """400 with the sum; `max_tokens` is 0 where the prompt alone is too long."""
    asked = f"{prompt_tokens} in the prompt" + (f" and {max_tokens} for the completion" if max_tokens else "")
    return OpenAIError(
        400,
        f"This model's maximum context length is {max_model_len} tokens, prompt and completion together. "
        f"Asked for were {prompt_tokens + max_tokens} tokens: {asked}. Shorten the prompt"
        + (" or lower max_tokens." if max_tokens else "."),
        param=param,
        code="context_length_exceeded",
    )


def overloaded(message: str, retry_after_s: int) -> OpenAIError:
    """429: the queue is full."""
    return OpenAIError(429, message, type="rate_limit_error", code="queue_full", retry_after_s=retry_after_s)


def unavailable(message: str, retry_after_s: int, code: str = "engine_unavailable") -> OpenAIError:
    """503: nothing is wrong with the request; try again."""
    return OpenAIError(503, message, type="service_unavailable_error", code=code, retry_after_s=retry_after_s)


def timed_out(message: str) -> OpenAIError:
    """504, not to be retried by itself: the same work would take as long again."""
    return OpenAIError(504, message, type="timeout_error", code="request_timeout")


def server_error(message: str) -> OpenAIError:
    return OpenAIError(500, message, type="server_error", code="internal_error")
