"""What a gateway's memory comes to at most, part by part, in bytes: the gateway keeps to the parts, and its pod's limit
is the sum.
"""

from dataclasses import dataclass

SMALL_BODY_BYTES = 64 * 2**10
"""The beginning of a request's body, which is counted apart, so that large bodies leave room for small ones."""
SMALL_BODIES_BYTES = 32 * 2**20
"""Of all bodies that are being read, wait or are worked on: their first 64 KiB."""
LARGE_BODIES_BYTES = 64 * 2**20
"""Of the same: what is beyond."""

MAX_ANSWER_BYTES = 64 * 2**20
"""An answer that is not streamed, until it is complete."""
ANSWERS_BYTES = 192 * 2**20
"""All of these together."""


@dataclass(frozen=True, slots=True)
class Lane:
    """One worker process that makes prompts: which bodies it takes, so that a short one never waits behind a long one,
    and what it may use."""

    max_body_bytes: int
    memory_bytes: int
    """Beyond what all workers share. A body of 8 MiB can become 200 MiB of Python's objects."""
    niceness: int
    """Above 0: it leaves most of the processor to the gateway itself, and to short work; an engine on the same cores
    must leave it some."""


LANES = (
    Lane(8 * 2**10, 64 * 2**20, 0),
    Lane(64 * 2**10, 64 * 2**20, 1),
    Lane(512 * 2**10, 128 * 2**20, 3),
    Lane(2**63, 256 * 2**20, 5),
)

KEPT_PART = 4
"""A worker that keeps more than this part of its memory after a job, a quarter, is replaced by a fresh one."""

BASE_BYTES = 512 * 2**20
"""The interpreter, and a tokenizer of 256,000 tokens in the gateway and once for all workers."""
CONNECTIONS_BYTES = 128 * 2**20
"""What waits in streams and sockets."""

GATEWAY_MEMORY_BYTES = (
    BASE_BYTES
    + CONNECTIONS_BYTES
    + 2 * (SMALL_BODIES_BYTES + LARGE_BODIES_BYTES)  # a body and its copy on the way to a worker
    + ANSWERS_BYTES
    + sum(lane.memory_bytes for lane in LANES)
)
"""1.5 GiB."""
