"""The residual stream. What was added to it last may still have to be: the norm that reads the sum then computes both,
in one launch."""

from collections.abc import Callable

from torch import Tensor

AddNorm = Callable[[Tensor, Tensor, Tensor, float], tuple[Tensor, Tensor]]
"""(x, residual (tokens, hidden), weight (hidden,), eps) → the norm of their sum, and the sum."""


class Sum:
    """residual + x, (tokens, hidden) each, computed once: by the first norm, or by whoever wants it before."""

    def __init__(self, x: Tensor, residual: Tensor) -> None:
        self._x, self._residual = x, residual
        self._total: Tensor | None = None

    def normed(self, add_norm: AddNorm, weight: Tensor, eps: float) -> Tensor:
        """The norm of the sum, which is known from then on. Asked for once."""
        normed, self._total = add_norm(self._x, self._residual, weight, eps)
        return normed

    @property
    def total(self) -> Tensor:
        if self._total is None:
            self._total = self._residual + self._x
        return self._total


Stream = Tensor | Sum


def settled(stream: Stream) -> Tensor:
    """As numbers."""
    return stream.total if isinstance(stream, Sum) else stream


def joined(x: Tensor, residual: Stream | None, add_norm: AddNorm | None) -> Stream:
    """residual + x; x may be overwritten. add_norm: the backend's, if it has one."""
    if residual is None:
        return x
    return x.add_(settled(residual)) if add_norm is None else Sum(x, settled(residual))
