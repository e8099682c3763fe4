"""The nonlinearities of gated products, by one name in all implementations."""

from enum import StrEnum


class Activation(StrEnum):
    SILU = "silu"
    """x · sigmoid(x)."""
    GELU_TANH = "gelu_tanh"
    """x / 2 · (1 + tanh(√(2/π) · (x + 0.044715 · x³))), the tanh form of GELU."""
