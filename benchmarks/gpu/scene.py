"""What the whole-engine benchmarks run: on which device, which shapes, how much of it.

A tiny scene has every path of the real one, on a CPU: it shows that the benchmarks run, and no figure of it says
anything.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from gpu.timing import Peaks, device_peaks
from pagelet_api.config import Device, EngineConfig, Quantization

Raw = Mapping[str, Any]
"""A config.json."""


@dataclass(frozen=True, slots=True)
class Scene:
    device: torch.device
    peaks: Callable[[], Peaks]
    dense: Raw
    """Of the decode step."""
    batches: tuple[int, ...]
    prompt_tokens: int
    """Of each of a batch's sequences, before the steps that are measured."""
    measured_steps: int
    small: Raw
    """Of the throughput, of the peer, and of the start."""
    num_requests: int
    lengths: tuple[int, int]
    """Of prompts and of outputs, fewest and most."""
    max_num_batched_tokens: int
    peer_blocks: int | None
    """Of the peer's cache; None: as many as it finds memory for."""
    peer_batched_tokens: int | None
    """Of the peer's largest step; None: as many as it likes."""

    def engine_config(self, *, max_num_seqs: int, quantization: Quantization = Quantization.NONE) -> EngineConfig:
        return EngineConfig(
            model_name="benchmark",
            device=Device.CPU if self.device.type == "cpu" else Device.AUTO,
            quantization=quantization,
            kv_cache_bytes=2**26,
            max_num_seqs=max_num_seqs,
            max_num_batched_tokens=self.max_num_batched_tokens,
            max_model_len=2 * self.lengths[1],
        )

    def synchronize(self) -> None:
        if self.device.type != "cpu":
            torch.cuda.synchronize(self.device)


def real_scene() -> Scene:
    return Scene(
        device=torch.device("cuda", 0),
        peaks=device_peaks,
        dense=LLAMA_3_8B,
        batches=(1, 32, 128, 256),
        prompt_tokens=960,
        measured_steps=64,
        small=QWEN_3_600M,
        num_requests=256,
        lengths=(100, 1024),
        max_num_batched_tokens=8192,
        peer_blocks=None,
        peer_batched_tokens=None,
    )


def tiny_scene() -> Scene:
    return Scene(
        device=torch.device("cpu"),
        peaks=lambda: Peaks(1e10, 1e11, None, "assumed: a tiny run says nothing"),
        dense=LLAMA_3_8B | _TINY,
        batches=(1, 3),
        prompt_tokens=20,
        measured_steps=8,
        small=QWEN_3_600M | _TINY | {"head_dim": 16},
        num_requests=6,
        lengths=(10, 24),
        max_num_batched_tokens=64,
        peer_blocks=32,
        peer_batched_tokens=64,
    )


LLAMA_3_8B: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "dtype": "bfloat16",
    "vocab_size": 128_256,
    "hidden_size": 4096,
    "intermediate_size": 14_336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "max_position_embeddings": 8192,
    "rms_norm_eps": 1e-5,
    "rope_theta": 500_000.0,
    "hidden_act": "silu",
    "tie_word_embeddings": False,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
QWEN_3_600M: dict[str, Any] = {
    "architectures": ["Qwen3ForCausalLM"],
    "model_type": "qwen3",
    "dtype": "bfloat16",
    "vocab_size": 151_936,
    "hidden_size": 1024,
    "intermediate_size": 3072,
    "num_hidden_layers": 28,
    "num_attention_heads": 16,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "max_position_embeddings": 40_960,
    "rms_norm_eps": 1e-6,
    "rope_theta": 1_000_000.0,
    "hidden_act": "silu",
    "tie_word_embeddings": True,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
_TINY = {
    "dtype": "float32",
    "vocab_size": 199,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}
