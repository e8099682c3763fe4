"""Linear layers: QKV fused, row-parallel with the residual, the gated MLP.

Sizes in constructors are those of the whole model. A layer holds its rank's share: some of the heads, some of the
inner features.
"""

from collections.abc import Mapping

from torch import Tensor, nn

from pagelet_engine.layers.backend import Activation, Backend
from pagelet_engine.layers.ranks import kv_share, share
from pagelet_engine.layers.stream import Stream, joined, settled
from pagelet_engine.weights.destination import Destination, Elsewhere, Part


class QKV(nn.Module):
    """Queries, keys and values of the rank's heads by one product."""

    def __init__(
        self, hidden: int, num_heads: int, num_kv_heads: int, head_dim: int, *, bias: bool, backend: Backend
    ) -> None:
        super().__init__()
        self.hidden, self.head_dim, self.weight_format = hidden, head_dim, backend.linears
        heads, kv_heads = share(backend.ranks, num_heads), kv_share(backend.ranks, num_kv_heads)
        self.heads = ((num_heads, heads), (num_kv_heads, kv_heads), (num_kv_heads, kv_heads))
        held = sum(mine.stop - mine.start for _, mine in self.heads)
        self.weight_format.declare(self, held * head_dim, hidden, bias)

    def forward(self, x: Tensor) -> Tensor:
        """(tokens, hidden) → (tokens, heads + 2 × kv_heads, head_dim): queries, keys, values."""
        return self.weight_format.apply(self, x).view(len(x), -1, self.head_dim)

    def load(self, query: str, key: str, value: str) -> dict[str, Destination]:
        """Destinations of the checkpoint's three layers of these names."""
        destinations: dict[str, Destination] = {}
        first = 0
        for name, (count, mine) in zip((query, key, value), self.heads, strict=True):
            rows = slice(mine.start * self.head_dim, mine.stop * self.head_dim)
            part = Part((count * self.head_dim, self.hidden), rows)
            into = slice(first, first + part.num_rows)
            destinations.update(self.weight_format.load(self, name, into, part))
            first = into.stop
        return destinations


class RowParallel(nn.Module):
    """A projection whose inputs are spread over the ranks: their products are summed, and it ends in the residual
    stream."""

    def __init__(self, inner: int, hidden: int, *, bias: bool, backend: Backend) -> None:
        super().__init__()
        self.weight_format, self.ranks, self.add_norm = backend.linears, backend.ranks, backend.add_rms_norm
        self.inner, self.hidden, self.bias_elsewhere = inner, hidden, bias and self.ranks.rank > 0
        self.columns = share(self.ranks, inner)
        held = self.columns.stop - self.columns.start
        self.weight_format.declare(self, hidden, held, bias and not self.bias_elsewhere)

    def forward(self, x: Tensor, residual: Stream | None = None) -> Stream:
        """x (tokens, the rank's inner), residual (tokens, hidden) → x·Wᵀ of all ranks, + residual."""
        if self.ranks.size == 1 and self.add_norm is None:
            return self.weight_format.apply(self, x, None if residual is None else settled(residual))
        total = self.ranks.all_reduce(self.weight_format.apply(self, x))
        return joined(total, residual, self.add_norm)

    def load(self, name: str) -> Mapping[str, Destination]:
        part = Part((self.hidden, self.inner), columns=self.columns)
        destinations = self.weight_format.load(self, name, slice(None), part)
        return {**destinations, f"{name}.bias": Elsewhere((self.hidden,))} if self.bias_elsewhere else destinations


class GateUp(nn.Module):
    """Both inputs of the gate by one product, and the gate."""

    def __init__(self, hidden: int, inner: int, *, bias: bool, activation: Activation, backend: Backend) -> None:
        super().__init__()
        self.hidden, self.inner, self.weight_format = hidden, inner, backend.linears
        self.rows = share(backend.ranks, inner)
        self.weight_format.declare(self, 2 * (self.rows.stop - self.rows.start), hidden, bias, gate=activation)

    def forward(self, x: Tensor) -> Tensor:
        """(tokens, hidden) → (tokens, the rank's inner): activation(gate(x)) · up(x)."""
        return self.weight_format.apply(self, x)

    def load(self, gate: str, up: str) -> dict[str, Destination]:
        part = Part((self.inner, self.hidden), self.rows)
        held = part.num_rows
        return {
            **self.weight_format.load(self, gate, slice(0, held), part),
            **self.weight_format.load(self, up, slice(held, 2 * held), part),
        }


class GatedMLP(nn.Module):
    """down(activation(gate(x)) · up(x)), + residual."""

    def __init__(
        self,
        hidden: int,
        inner: int,
        *,
        bias: bool,
        backend: Backend,
        activation: Activation = Activation.SILU,
    ) -> None:
        super().__init__()
        self.gate_up = GateUp(hidden, inner, bias=bias, activation=activation, backend=backend)
        self.down = RowParallel(inner, hidden, bias=bias, backend=backend)

    def forward(self, x: Tensor, residual: Stream | None = None) -> Stream:
        """x, residual (tokens, hidden) → (tokens, hidden)."""
        after: Stream = self.down(self.gate_up(x), residual)
        return after

    def load(self, gate: str, up: str, down: str) -> dict[str, Destination]:
        return {**self.gate_up.load(gate, up), **self.down.load(down)}
