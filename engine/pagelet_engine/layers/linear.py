"""Linear layers: QKV fused, row-parallel with the residual, the gated MLP.

Sizes are those of the whole model: how much of them one rank holds is a layer's affair.
"""

from collections.abc import Mapping

from torch import Tensor, nn

from pagelet_engine.layers.backend import WeightFormat
from pagelet_engine.weights.destination import Destination


class QKV(nn.Module):
    """Queries, keys and values of all heads by one product, split by heads."""

    def __init__(
        self, hidden: int, num_heads: int, num_kv_heads: int, head_dim: int, *, bias: bool, weight_format: WeightFormat
    ) -> None:
        super().__init__()
        self.num_heads, self.num_kv_heads, self.head_dim = num_heads, num_kv_heads, head_dim
        self.weight_format = weight_format
        weight_format.declare(self, (num_heads + 2 * num_kv_heads) * head_dim, hidden, bias)

    def forward(self, x: Tensor) -> Tensor:
        """(tokens, hidden) → (tokens, heads + 2 × kv_heads, head_dim): queries, keys, values."""
        return self.weight_format.apply(self, x).view(len(x), -1, self.head_dim)

    def load(self, query: str, key: str, value: str) -> dict[str, Destination]:
        """Destinations of the checkpoint's three layers of these names."""
        return _fused(self, {query: self.num_heads, key: self.num_kv_heads, value: self.num_kv_heads}, self.head_dim)


class RowParallel(nn.Module):
    """A projection whose inputs are spread over ranks; it ends in the residual stream."""

    def __init__(self, inner: int, hidden: int, *, bias: bool, weight_format: WeightFormat) -> None:
        super().__init__()
        self.weight_format = weight_format
        weight_format.declare(self, hidden, inner, bias)

    def forward(self, x: Tensor, residual: Tensor) -> Tensor:
        """x (tokens, inner), residual (tokens, hidden) → residual + x·Wᵀ."""
        return self.weight_format.apply(self, x, residual)

    def load(self, name: str) -> Mapping[str, Destination]:
        return self.weight_format.load(self, name, slice(None))


class GateUp(nn.Module):
    """Both inputs of the gate by one product, and the gate."""

    def __init__(self, hidden: int, inner: int, *, bias: bool, weight_format: WeightFormat) -> None:
        super().__init__()
        self.inner, self.weight_format = inner, weight_format
        weight_format.declare(self, 2 * inner, hidden, bias, is_gated=True)

    def forward(self, x: Tensor) -> Tensor:
        """(tokens, hidden) → (tokens, inner): silu(gate(x)) · up(x)."""
        return self.weight_format.apply(self, x)

    def load(self, gate: str, up: str) -> dict[str, Destination]:
        return _fused(self, {gate: 1, up: 1}, self.inner)


class GatedMLP(nn.Module):
    """residual + down(silu(gate(x)) · up(x))."""

    def __init__(self, hidden: int, inner: int, *, bias: bool, weight_format: WeightFormat) -> None:
        super().__init__()
        self.gate_up = GateUp(hidden, inner, bias=bias, weight_format=weight_format)
        self.down = RowParallel(inner, hidden, bias=bias, weight_format=weight_format)

    def forward(self, x: Tensor, residual: Tensor) -> Tensor:
        """x, residual (tokens, hidden) → (tokens, hidden)."""
        after: Tensor = self.down(self.gate_up(x), residual)
        return after

    def load(self, gate: str, up: str, down: str) -> dict[str, Destination]:
        return {**self.gate_up.load(gate, up), **self.down.load(down)}


def _fused(layer: QKV | GateUp, units: Mapping[str, int], unit_rows: int) -> dict[str, Destination]:
    """Destinations of several checkpoint layers that lie one after the other in the rows of `layer`."""
    destinations: dict[str, Destination] = {}
    first = 0
    for name, count in units.items():
        rows = slice(first, first + count * unit_rows)
        destinations.update(layer.weight_format.load(layer, name, rows))
        first = rows.stop
    return destinations
