"""What preparing one request may use, the workers that do it, and what a gateway's memory comes to."""

from dataclasses import dataclass

from pagelet_api.openai.errors import OpenAIError

JOB_BYTES = 256 * 2**20
"""Memory of one worker beyond what all of them share: a body of 8 MiB can become 200 MiB of Python's objects."""

GROWTH_BYTES = 64 * 2**20
"""A worker that keeps more than this after a job is replaced by a fresh one."""

JOB_LIMIT_S = 20.0
"""A worker that is still at one job then is ended, and with it the request."""


@dataclass(frozen=True, slots=True)
class Lane:
    """One worker, and which bodies it takes: a short one never waits behind a long one."""

    max_body_bytes: int
    niceness: int
    """Above 0: it leaves the processor to the gateway itself, and to short work."""


LANES = (
    Lane(8 * 2**10, 0),
    Lane(64 * 2**10, 2),
    Lane(512 * 2**10, 5),
    Lane(2**63, 10),
)


def too_much_memory() -> OpenAIError:
    return _too_costly(f"took more than {JOB_BYTES >> 20} MiB of memory")


def too_much_time() -> OpenAIError:
    return _too_costly(f"took longer than {JOB_LIMIT_S:g} s")


def ended_its_worker() -> OpenAIError:
    return _too_costly("ended the process that did it, most likely for its memory")


def _too_costly(reason: str) -> OpenAIError:
    return OpenAIError(
        400,
        f"Reading this request and making its prompt {reason}, which is more than one request may take. Send less at "
        "once.",
        code="request_too_costly",
    )
