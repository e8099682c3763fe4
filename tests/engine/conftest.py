"""Tiny models with random weights, built by transformers on the spot, for every room of the engine."""

from collections.abc import Callable
from dataclasses import dataclass
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
def tiny_llama(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., TinyModel]:
    """A factory: fields of transformers' LlamaConfig → a saved model. The same fields give the same model."""
    from transformers import LlamaConfig, LlamaForCausalLM

    made: dict[str, TinyModel] = {}

    def make(save_dtype: torch.dtype = torch.float32, max_shard_size: str = "1GB", **fields: Any) -> TinyModel:
        key = f"{save_dtype} {max_shard_size} {sorted(fields.items())}"
        if key not in made:
            config = LlamaConfig(**TINY | fields)
            torch.manual_seed(1)
            model = LlamaForCausalLM(config).eval()
            with torch.no_grad():
                for name, parameter in model.named_parameters():  # the usual 0.02 would make all tokens near-ties
                    is_norm = "norm" in name
                    parameter.copy_(
                        1 + 0.1 * torch.randn_like(parameter) if is_norm else 0.15 * torch.randn_like(parameter)
                    )
            model = model.to(save_dtype)
            folder = tmp_path_factory.mktemp("tiny-llama")
            model.save_pretrained(folder, max_shard_size=max_shard_size)
            for name in ("tokenizer.json", "tokenizer_config.json"):
                (folder / name).write_text("{}")
            write_manifest(folder)
            made[key] = TinyModel(folder, model.float())
        return made[key]

    return make


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
