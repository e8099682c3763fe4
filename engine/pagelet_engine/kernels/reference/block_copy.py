"""A whole page from one block to another: copy on write, and to and from host memory."""

from torch import Tensor


def block_copy(source: Tensor, destination: Tensor) -> None:
    """Copy one block's page, with all layers of its KV group, over another's; in stream order, and waiting for nobody.

    source, destination (page_bytes,): contiguous, each on the device or pinned.
    """
    destination.copy_(source, non_blocking=True)
