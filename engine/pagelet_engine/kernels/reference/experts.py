"""A mixture of experts in place of one MLP (Shazeer et al. 2017; as in Mixtral and Qwen3-MoE).

`inner` may be one rank's share: the result is then that rank's part of a sum over ranks.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from pagelet_engine.kernels.activation import Activation
from pagelet_engine.kernels.reference.gated_activation import gated_activation


def route(router_logits: Tensor, top_k: int, renormalise: bool) -> tuple[Tensor, Tensor]:
    """Each token's experts: the top_k of its softmax over all of them, the lower number first among equals.

    router_logits (tokens, experts) → expert_ids (tokens, top_k) int32, weights (tokens, top_k) fp32: the experts'
    probabilities, divided by their sum where `renormalise`. NaN ranks as probability 0, and stays NaN as a weight.
    """
    probabilities = router_logits.float().softmax(-1)
    order = probabilities.nan_to_num(0).sort(dim=-1, descending=True, stable=True).indices[:, :top_k]
    weights = probabilities.gather(1, order)
    return order.int(), weights / weights.sum(-1, keepdim=True) if renormalise else weights


def experts(
    x: Tensor, gate_up: Tensor, down: Tensor, expert_ids: Tensor, weights: Tensor, activation: Activation
) -> Tensor:
    """Σ over a token's experts e of weight · down_e·(activation(gate_e·x) · up_e·x).

    x (tokens, hidden), gate_up (experts, 2 × inner, hidden): gate, then up; down (experts, hidden, inner);
    expert_ids (tokens, top_k) int32, no expert twice in a row; weights (tokens, top_k) fp32 → (tokens, hidden) in x's
    dtype, summed in fp32.
    """
    total = torch.zeros(x.shape, dtype=torch.float32, device=x.device)
    for expert in range(len(gate_up)):
        tokens, choice = (expert_ids == expert).nonzero(as_tuple=True)
        inner = gated_activation(F.linear(x[tokens], gate_up[expert]), activation)
        total[tokens] += weights[tokens, choice, None] * F.linear(inner, down[expert]).float()
    return total.to(x.dtype)
