"""How busy the engine is, in numbers: for metrics, routers and autoscalers."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LoadSnapshot:
    """The state after `step`, and what has been counted since the start."""

    step: int
    """Number of the last step submitted."""
    running: int
    """Requests with at least one sample in a seat."""
    waiting: int
    """Requests with none, the preempted among them."""
    blocks_total: int
    blocks_in_use: int
    """Held by a sample or named by a step in flight."""
    blocks_cached: int
    """Free, with content that can still be found."""
    prefix_queries: int
    """Prompt tokens looked up in the prefix cache."""
    prefix_hits: int
    """Of those, found."""
    preemptions: int
    host_blocks_total: int = 0
    """Of the second tier, in host memory."""
    host_blocks_in_use: int = 0
    """Held for a preempted sample, or named by a copy in flight."""
    host_blocks_cached: int = 0
    blocks_saved: int = 0
    """Copied from the device to the host."""
    blocks_loaded: int = 0
    """Copied back."""
