"""Tiny models with random weights, built by transformers on the spot, for every room of the engine."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from pagelet_api.model_folder import write_manifest


@dataclass(frozen=True)
class TinyModel:
    folder: Path
    """As `pagelet import` makes it; the tokenizer's files are empty."""
    reference: Any
    """The same model in transformers, fp32."""

    def logits(self, tokens: list[int]) -> torch.Tensor:
        """(tokens, vocab)"""
        with torch.inference_mode():
            return self.reference(torch.tensor([tokens])).logits[0]

    def greedy(self, prompt: list[int], count: int) -> list[int]:
        tokens = list(prompt)
        for _ in range(count):
            tokens.append(int(self.logits(tokens)[-1].argmax()))
        return tokens[len(prompt) :]


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., TinyModel]:
    """A factory: an architecture and fields of its transformers configuration → a saved model. The same fields give the
    same model."""
    import transformers

    made: dict[str, TinyModel] = {}

    def make(
        architecture: str, save_dtype: torch.dtype = torch.float32, max_shard_size: str = "1GB", **fields: Any
    ) -> TinyModel:
        key = f"{architecture} {save_dtype} {max_shard_size} {sorted(fields.items())}"
        if key not in made:
            cls = getattr(transformers, architecture)
            config = cls.config_class(**TINY | ALSO.get(architecture, {}) | fields)
            if fields.get("attn_logit_softcapping"):
                config._attn_implementation = _soft_capped_attention()
            torch.manual_seed(1)
            model = cls(config).eval()
            with torch.no_grad():
                for name, parameter in model.named_parameters():  # the usual 0.02 would make all tokens near-ties
                    if "norm" in name:
                        parameter.add_(0.1 * torch.randn_like(parameter))  # to ones, or to zeros that mean ones
                    else:
                        parameter.copy_(0.15 * torch.randn_like(parameter))
            model = model.to(save_dtype)
            folder = tmp_path_factory.mktemp("tiny-model")
            model.save_pretrained(folder, max_shard_size=max_shard_size)
            for name in ("tokenizer.json", "tokenizer_config.json"):
                (folder / name).write_text("{}")
            write_manifest(folder)
            made[key] = TinyModel(folder, model.float())
        return made[key]

    return make


@pytest.fixture(scope="session")
def tiny_llama(tiny_model: Callable[..., TinyModel]) -> Callable[..., TinyModel]:
    """The same, of Llama."""
    return partial(tiny_model, "LlamaForCausalLM")


def _soft_capped_attention() -> str:
    """The name of an attention that heeds attn_logit_softcapping, which transformers forgets in Gemma 3."""
    from transformers import AttentionInterface
    from transformers.masking_utils import AttentionMaskInterface, eager_mask
    from transformers.models.gemma3.modeling_gemma3 import eager_attention_forward

    def attend(module: Any, query: Any, key: Any, value: Any, attention_mask: Any, **settings: Any) -> Any:
        cap = module.attn_logit_softcapping
        return eager_attention_forward(module, query, key, value, attention_mask, softcap=cap, **settings)

    AttentionInterface.register("soft_capped", attend)
    AttentionMaskInterface.register("soft_capped", eager_mask)
    return "soft_capped"


TINY = {
    "vocab_size": 199,
    "hidden_size": 48,
    "intermediate_size": 100,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
ALSO: dict[str, dict[str, Any]] = {
    "Qwen3ForCausalLM": {"head_dim": 8},
    "MixtralForCausalLM": {"num_local_experts": 4},
    "Qwen3MoeForCausalLM": {"num_experts": 6, "num_experts_per_tok": 2, "moe_intermediate_size": 28},
    "Gemma3ForCausalLM": {"head_dim": 12},
}
"""Where an architecture's own defaults are no tiny ones."""
