"""What making one prompt may take, and the sentences for a request that takes more."""

from pagelet_api.openai.errors import OpenAIError

JOB_LIMIT_S = 30.0
"""A worker that is still at one job then is ended, and with it the request."""


def too_much_memory(limit_bytes: int) -> OpenAIError:
    return _too_costly(f"took more than {limit_bytes >> 20} MiB of memory")


def too_much_time(limit_s: float) -> OpenAIError:
    return _too_costly(f"took longer than {limit_s:g} s")


def ended_its_workers() -> OpenAIError:
    return _too_costly("ended the processes that did it, most likely for their memory")


def _too_costly(reason: str) -> OpenAIError:
    return OpenAIError(
        400,
        f"Reading this request and making its prompt {reason}, which is more than one request may take. Send less at "
        "once.",
        code="request_too_costly",
    )
