"""What every family here has in common: tokens in, blocks over one residual stream, logits out; and the block that most
of them are made of.
"""

from collections.abc import Callable, Mapping, Sequence

import torch
from pagelet_api.sizes import ModelShape
from torch import Tensor, nn

from pagelet_engine.layers.attention import Attention
from pagelet_engine.layers.backend import Backend, CacheLayer
from pagelet_engine.layers.batch import Batch
from pagelet_engine.layers.experts import Experts
from pagelet_engine.layers.linear import QKV, GatedMLP, RowParallel
from pagelet_engine.layers.norm import Norm
from pagelet_engine.layers.rotary import Rotary
from pagelet_engine.layers.stream import Stream, settled
from pagelet_engine.layers.vocabulary import Embedding
from pagelet_engine.weights.destination import Destination


class Block(nn.Module):
    """One decoder layer. forward: (x, rotary, batch) → x, where x (tokens, hidden) is the residual stream."""

    def load(self, name: str) -> dict[str, Destination]:
        """Destinations of the checkpoint's layer of this name."""
        raise NotImplementedError


class SelfAttention(nn.Module):
    """Queries, keys, values; attention over the cache; the way back into the residual stream."""

    def __init__(
        self,
        shape: ModelShape,
        cache: CacheLayer,
        backend: Backend,
        head_norm: Callable[[], Norm],
        *,
        scale: float | None = None,
        soft_cap: float = 0.0,
    ) -> None:
        """head_norm makes the norms of queries and keys, where the shape says that there are some."""
        super().__init__()
        hidden, heads, kv_heads, head_dim = shape.hidden_size, shape.num_heads, shape.num_kv_heads, shape.head_dim
        has_bias = shape.attention_bias
        self.qkv = QKV(hidden, heads, kv_heads, head_dim, bias=has_bias or shape.qkv_bias, backend=backend)
        self.q_norm = head_norm() if shape.qk_norm else None
        self.k_norm = head_norm() if shape.qk_norm else None
        self.attention = Attention(
            cache, backend, scale=scale, soft_cap=soft_cap, q_norm=self.q_norm, k_norm=self.k_norm
        )
        self.out = RowParallel(heads * head_dim, hidden, bias=has_bias, backend=backend)

    def forward(self, x: Tensor, rotary: Tensor, batch: Batch, residual: Stream | None = None) -> Stream:
        """x, residual (tokens, hidden) → (tokens, hidden)."""
        after: Stream = self.out(self.attention(self.qkv(x), rotary, batch), residual)
        return after

    def load(self, name: str) -> dict[str, Destination]:
        destinations = {
            **self.qkv.load(f"{name}.q_proj", f"{name}.k_proj", f"{name}.v_proj"),
            **self.out.load(f"{name}.o_proj"),
        }
        if self.q_norm and self.k_norm:
            destinations |= {**self.q_norm.load(f"{name}.q_norm"), **self.k_norm.load(f"{name}.k_norm")}
        return destinations


class PreNormBlock(Block):
    """x + attention(norm(x)), then x + mlp(norm(x)). What its MLP is called in a checkpoint, a family says."""

    mlp: GatedMLP | Experts

    def __init__(
        self, shape: ModelShape, cache: CacheLayer, eps: float, mlp: GatedMLP | Experts, backend: Backend
    ) -> None:
        super().__init__()
        self.attention_norm = Norm(shape.hidden_size, eps, backend)
        self.attention = SelfAttention(shape, cache, backend, lambda: Norm(shape.head_dim, eps, backend))
        self.mlp_norm = Norm(shape.hidden_size, eps, backend)
        self.mlp = mlp

    def forward(self, x: Stream, rotary: Tensor, batch: Batch) -> Stream:
        """x (tokens, hidden): the residual stream, before → after."""
        x = self.attention(self.attention_norm(x), rotary, batch, residual=x)
        after: Stream = self.mlp(self.mlp_norm(x), residual=x)
        return after

    def load(self, name: str) -> dict[str, Destination]:
        """All but the MLP's."""
        return {
            **self.attention_norm.load(f"{name}.input_layernorm"),
            **self.attention.load(f"{name}.self_attn"),
            **self.mlp_norm.load(f"{name}.post_attention_layernorm"),
        }


class Decoder(nn.Module):
    """Implements `registry.Model`."""

    def __init__(
        self,
        shape: ModelShape,
        blocks: Sequence[tuple[Block, Rotary]],
        norm: Norm,
        backend: Backend,
        *,
        embedding_scale: float = 1.0,
        logits_soft_cap: float = 0.0,
    ) -> None:
        """blocks: each with the angles that it rotates by. logits_soft_cap: cap · tanh(logit / cap); 0: none."""
        super().__init__()
        self.embedding = Embedding(shape.vocab_size, shape.hidden_size, backend, scale=embedding_scale)
        rotaries = [rotary for _, rotary in blocks]
        self.rotaries = nn.ModuleList(dict.fromkeys(rotaries))  # each once
        self.rotary_of = [list(self.rotaries).index(rotary) for rotary in rotaries]
        self.blocks = nn.ModuleList(block for block, _ in blocks)
        self.norm = norm
        self.tied, self.head = shape.tie_word_embeddings, self.embedding
        if not self.tied:
            self.head = Embedding(shape.vocab_size, shape.hidden_size, backend)
        self.logits_soft_cap = logits_soft_cap

    def forward(self, batch: Batch) -> Tensor:
        """→ (tokens, hidden): what `logits` turns into logits, for the rows that need them."""
        x: Stream = self.embedding(batch)
        angles = [rotary(batch) for rotary in self.rotaries]
        for block, kind in zip(self.blocks, self.rotary_of, strict=True):
            x = block(x, angles[kind], batch)
        return settled(x)

    def logits(self, x: Tensor) -> Tensor:
        """(rows, hidden) → (rows, vocab) fp32."""
        logits = self.head.logits(self.norm(x))
        cap = self.logits_soft_cap
        return torch.tanh(logits / cap) * cap if cap else logits

    def load(self) -> Mapping[str, Destination]:
        """Checkpoint name → destination, for every tensor the model needs."""
        destinations = {**self.embedding.load("model.embed_tokens"), **self.norm.load("model.norm")}
        for layer, block in enumerate(self.blocks):
            assert isinstance(block, Block)
            destinations.update(block.load(f"model.layers.{layer}"))
        return destinations if self.tied else {**destinations, **self.head.load("lm_head")}

    @property
    def ignored(self) -> tuple[str, ...]:
        """Patterns of checkpoint names that this model does without."""
        buffers = r"model\.layers\.\d+\.self_attn\.rotary_emb\.inv_freq"
        return (buffers, r"lm_head\.weight") if self.tied else (buffers,)
