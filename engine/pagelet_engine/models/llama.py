"""Llama: Llama 2 and 3, SmolLM2. Pre-norm blocks, rotary attention with grouped heads, a gated MLP."""

from collections.abc import Mapping
from typing import Any

from pagelet_api.sizes import ModelConfigError, ModelShape
from torch import Tensor, nn

from pagelet_engine.layers.attention import Attention
from pagelet_engine.layers.backend import Backend, CacheLayer
from pagelet_engine.layers.batch import Batch
from pagelet_engine.layers.linear import QKV, GatedMLP, RowParallel
from pagelet_engine.layers.norm import Norm
from pagelet_engine.layers.rotary import RopeSettings, Rotary
from pagelet_engine.layers.vocabulary import Embedding
from pagelet_engine.weights.destination import Destination


class LlamaBlock(nn.Module):
    def __init__(self, layer: int, shape: ModelShape, eps: float, backend: Backend) -> None:
        super().__init__()
        hidden, heads, kv_heads, head_dim = shape.hidden_size, shape.num_heads, shape.num_kv_heads, shape.head_dim
        bias, weight_format = shape.attention_bias, backend.linears
        self.attention_norm = Norm(hidden, eps, backend)
        self.qkv = QKV(hidden, heads, kv_heads, head_dim, bias=bias, weight_format=weight_format)
        self.attention = Attention(CacheLayer(0, layer, heads, kv_heads, head_dim), backend)
        self.attention_out = RowParallel(heads * head_dim, hidden, bias=bias, weight_format=weight_format)
        self.mlp_norm = Norm(hidden, eps, backend)
        self.mlp = GatedMLP(hidden, shape.intermediate_size, bias=shape.mlp_bias, weight_format=weight_format)

    def forward(self, x: Tensor, rotary: Tensor, batch: Batch) -> Tensor:
        """x (tokens, hidden): the residual stream, before → after."""
        attended = self.attention(self.qkv(self.attention_norm(x)), rotary, batch)
        x = self.attention_out(attended, residual=x)
        after: Tensor = self.mlp(self.mlp_norm(x), residual=x)
        return after

    def load(self, name: str) -> dict[str, Destination]:
        attention, mlp = f"{name}.self_attn", f"{name}.mlp"
        return {
            **self.attention_norm.load(f"{name}.input_layernorm"),
            **self.qkv.load(f"{attention}.q_proj", f"{attention}.k_proj", f"{attention}.v_proj"),
            **self.attention_out.load(f"{attention}.o_proj"),
            **self.mlp_norm.load(f"{name}.post_attention_layernorm"),
            **self.mlp.load(f"{mlp}.gate_proj", f"{mlp}.up_proj", f"{mlp}.down_proj"),
        }


class Llama(nn.Module):
    def __init__(self, shape: ModelShape, config: Mapping[str, Any], backend: Backend) -> None:
        """Raises ModelConfigError for a variant we do not compute. Parameters are uninitialised."""
        super().__init__()
        if (act := config.get("hidden_act", "silu")) != "silu":
            raise ModelConfigError(f"config.json: hidden_act: wanted 'silu', found {act!r}: not supported")
        eps = float(config.get("rms_norm_eps", 1e-6))
        self.embedding = Embedding(shape.vocab_size, shape.hidden_size, backend)
        self.rotary = Rotary(shape.head_dim, RopeSettings.from_config(config), backend)
        self.blocks = nn.ModuleList(LlamaBlock(layer, shape, eps, backend) for layer in range(shape.num_layers))
        self.norm = Norm(shape.hidden_size, eps, backend)
        self.tied, self.head = shape.tie_word_embeddings, self.embedding
        if not self.tied:
            self.head = Embedding(shape.vocab_size, shape.hidden_size, backend)

    def forward(self, batch: Batch) -> Tensor:
        """→ (tokens, hidden): what `logits` turns into logits, for the rows that need them."""
        x: Tensor = self.embedding(batch)
        rotary = self.rotary(batch)
        for block in self.blocks:
            x = block(x, rotary, batch)
        return x

    def logits(self, x: Tensor) -> Tensor:
        """(rows, hidden) → (rows, vocab) fp32."""
        return self.head.logits(self.norm(x))

    def load(self) -> dict[str, Destination]:
        """Checkpoint name → destination, for every tensor the model needs."""
        destinations = {**self.embedding.load("model.embed_tokens"), **self.norm.load("model.norm")}
        for layer, block in enumerate(self.blocks):
            assert isinstance(block, LlamaBlock)
            destinations.update(block.load(f"model.layers.{layer}"))
        return destinations if self.tied else {**destinations, **self.head.load("lm_head")}

    @property
    def ignored(self) -> tuple[str, ...]:
        """Patterns of checkpoint names that this model does without."""
        buffers = r"model\.layers\.\d+\.self_attn\.rotary_emb\.inv_freq"
        return (buffers, r"lm_head\.weight") if self.tied else (buffers,)
