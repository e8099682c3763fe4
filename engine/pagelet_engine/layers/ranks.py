"""The ranks that compute one model together, as layers see them: their own number, and two ways to bring results
together.

Every layer holds its rank's share of the weights alone. With one rank, all of this costs nothing.
"""

from typing import Protocol

from torch import Tensor


class Ranks(Protocol):
    """All ranks make the same calls in the same order, with tensors of one shape."""

    @property
    def rank(self) -> int:
        """0 … size - 1."""
        ...

    @property
    def size(self) -> int: ...

    def all_reduce(self, x: Tensor) -> Tensor:
        """The sum of all ranks' x, the same numbers on every rank; x itself may be overwritten."""
        ...

    def all_gather(self, x: Tensor) -> Tensor:
        """x (rows, n) → (rows, size × n): the ranks' columns side by side."""
        ...


class OneRank:
    rank = 0
    size = 1

    def all_reduce(self, x: Tensor) -> Tensor:
        return x

    def all_gather(self, x: Tensor) -> Tensor:
        return x


def share(ranks: Ranks, count: int) -> slice:
    """This rank's part of `count` things that are spread evenly (see pagelet_api.sizes.check_spread)."""
    each, rest = divmod(count, ranks.size)
    assert rest == 0, f"{count} cannot be spread over {ranks.size} ranks"
    return slice(ranks.rank * each, (ranks.rank + 1) * each)


def kv_share(ranks: Ranks, num_kv_heads: int) -> slice:
    """This rank's KV heads: a part of them, or the one that its queries read, held by several ranks, where there are
    fewer heads than ranks."""
    if num_kv_heads >= ranks.size:
        return share(ranks, num_kv_heads)
    copies, rest = divmod(ranks.size, num_kv_heads)
    assert rest == 0, f"{num_kv_heads} KV heads cannot be held by {ranks.size} ranks"
    return slice(ranks.rank // copies, ranks.rank // copies + 1)
