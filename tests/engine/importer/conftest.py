"""Small GGUF files and folders, written on the spot: random weights, vocabularies trained on a page of text."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from pagelet_engine.importer.model_import import Imported, import_model
from pagelet_engine.importer.progress import Advance
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

CORPUS = [
    "The quick brown fox jumps over the lazy dog, and then it doesn't. It's 12 o'clock; we'll see in 2024!",
    "def add(a, b):\n    return a + b  # 3.14\n\n\tfor i in range(10):\n        print(i)\r\n",
    "Ünïcödé: naïve café, 東京は日本の首都です。 Привет, мир! مرحبا 🙂👍🏽 ½ ² ٣",
]

CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)

BYTE_LEVEL_SPECIALS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, BYTE = 1, 2, 3, 4, 6


@dataclass(frozen=True)
class TinyVocabulary:
    """What `tokenizer.ggml.*` says."""

    model: str
    tokens: list[str]
    types: list[int]
    scores: list[float] | None = None
    merges: list[str] | None = None
    pre: str | None = None
    special: Mapping[str, int] = field(default_factory=dict)
    adds_bos: bool | None = None
    chat_template: str = ""


@dataclass(frozen=True)
class TinyLlama:
    """A Llama of a few thousand weights; what differs between tests is a field."""

    vocabulary: TinyVocabulary
    kind: gguf.GGMLQuantizationType = gguf.GGMLQuantizationType.F32
    tied: bool = True
    biased: bool = False
    num_layers: int = 2
    num_heads: int = 4
    num_kv_heads: int = 2
    head_dim: int = 16
    hidden_size: int = 64
    intermediate_size: int = 96
    metadata: Mapping[str, Any] = field(default_factory=dict)
    extra_tensors: Mapping[str, np.ndarray] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()
    architecture: str = "llama"

    def tensors(self) -> dict[str, np.ndarray]:
        random = np.random.default_rng(0)

        def weights(*shape: int) -> np.ndarray:
            return random.normal(0.0, 0.05, shape).astype(np.float32)

        hidden, inner = self.hidden_size, self.intermediate_size
        queries, keys, vocab = self.num_heads * self.head_dim, self.num_kv_heads * self.head_dim, self.num_tokens
        tensors = {"token_embd.weight": weights(vocab, hidden), "output_norm.weight": 1 + weights(hidden)}
        if not self.tied:
            tensors["output.weight"] = weights(vocab, hidden)
        for layer in range(self.num_layers):
            block = {
                "attn_norm.weight": 1 + weights(hidden),
                "ffn_norm.weight": 1 + weights(hidden),
                "attn_q.weight": weights(queries, hidden),
                "attn_k.weight": weights(keys, hidden),
                "attn_v.weight": weights(keys, hidden),
                "attn_output.weight": weights(hidden, queries),
                "ffn_gate.weight": weights(inner, hidden),
                "ffn_up.weight": weights(inner, hidden),
                "ffn_down.weight": weights(hidden, inner),
            }
            if self.biased:
                block |= {
                    name.replace("weight", "bias"): weights(value.shape[0])
                    for name, value in block.items()
                    if "norm" not in name
                }
            tensors |= {f"blk.{layer}.{name}": value for name, value in block.items()}
        tensors |= dict(self.extra_tensors)
        return {name: value for name, value in tensors.items() if name not in self.left_out}

    @property
    def num_tokens(self) -> int:
        return len(self.vocabulary.tokens)

    def write(self, path: Path) -> Path:
        writer = gguf.GGUFWriter(path, self.architecture)
        numbers = {
            "block_count": self.num_layers,
            "context_length": 256,
            "embedding_length": self.hidden_size,
            "feed_forward_length": self.intermediate_size,
            "attention.head_count": self.num_heads,
            "attention.head_count_kv": self.num_kv_heads,
            "rope.dimension_count": self.head_dim,
            "vocab_size": self.num_tokens,
        }
        for key, number in numbers.items():
            writer.add_uint32(f"{self.architecture}.{key}", number)
        writer.add_float32(f"{self.architecture}.rope.freq_base", 10000.0)
        writer.add_float32(f"{self.architecture}.attention.layer_norm_rms_epsilon", 1e-5)
        _add_vocabulary(writer, self.vocabulary)
        for key, value in self.metadata.items():
            writer.add_key_value(key, value, _value_type(value))
        for name, value in self.tensors().items():
            if value.ndim == 1 or self.kind is gguf.GGMLQuantizationType.F32:
                writer.add_tensor(name, value)
            else:
                writer.add_tensor(name, gguf.quants.quantize(value, self.kind), raw_dtype=self.kind)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        return path


def _add_vocabulary(writer: gguf.GGUFWriter, vocabulary: TinyVocabulary) -> None:
    writer.add_tokenizer_model(vocabulary.model)
    writer.add_token_list(vocabulary.tokens)
    writer.add_token_types(vocabulary.types)
    if vocabulary.scores:
        writer.add_token_scores(vocabulary.scores)
    if vocabulary.merges:
        writer.add_token_merges(vocabulary.merges)
    if vocabulary.pre:
        writer.add_tokenizer_pre(vocabulary.pre)
    for name, token_id in vocabulary.special.items():
        writer.add_uint32(f"tokenizer.ggml.{name}_token_id", token_id)
    if vocabulary.adds_bos is not None:
        writer.add_add_bos_token(vocabulary.adds_bos)
    if vocabulary.chat_template:
        writer.add_chat_template(vocabulary.chat_template)


def _value_type(value: Any) -> gguf.GGUFValueType:
    kinds = {bool: "BOOL", int: "UINT32", float: "FLOAT32", str: "STRING"}
    return gguf.GGUFValueType[kinds[type(value)]]


def _byte_level_vocabulary(pre: str | None = "gpt-2", **changes: Any) -> TinyVocabulary:
    """A byte-level BPE vocabulary trained on CORPUS, cut as GPT-2 does it."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=420, special_tokens=BYTE_LEVEL_SPECIALS, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokens, merges = _trained(tokenizer)
    settings = {
        "model": "gpt2",
        "tokens": tokens,
        "types": [CONTROL if token in BYTE_LEVEL_SPECIALS else NORMAL for token in tokens],
        "merges": merges,
        "pre": pre,
        "special": {"bos": 1, "eos": 2, "unknown": 0, "padding": 2},
        "adds_bos": False,
        "chat_template": CHAT_TEMPLATE,
    }
    return TinyVocabulary(**(settings | changes))


def _sentencepiece_vocabulary(**changes: Any) -> TinyVocabulary:
    """A Llama 2 style vocabulary: three special tokens, 256 bytes, then pieces whose scores fall from 0."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.train_from_iterator(CORPUS, trainers.BpeTrainer(vocab_size=250, show_progress=False))
    letters_and_pieces, merges = _trained(tokenizer)
    pieces = [left + right for left, right in (merge.split(" ") for merge in merges)]
    letters = [token for token in letters_and_pieces if token not in pieces]
    head = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    tokens = [*head, *pieces, *letters]
    settings = {
        "model": "llama",
        "tokens": tokens,
        "types": [UNKNOWN, CONTROL, CONTROL, *[BYTE] * 256, *[NORMAL] * (len(tokens) - 259)],
        "scores": [*[0.0] * 259, *(-float(rank) for rank in range(len(tokens) - 259))],
        "special": {"bos": 1, "eos": 2, "unknown": 0},
        "adds_bos": True,
    }
    return TinyVocabulary(**(settings | changes))


def _trained(tokenizer: Tokenizer) -> tuple[list[str], list[str]]:
    model = json.loads(tokenizer.to_str())["model"]
    return sorted(model["vocab"], key=model["vocab"].__getitem__), [" ".join(merge) for merge in model["merges"]]


@contextmanager
def silent(title: str, total_bytes: int) -> Iterator[Advance]:
    yield lambda num_bytes: None


@pytest.fixture(scope="session")
def byte_level() -> Callable[..., TinyVocabulary]:
    """A byte-level vocabulary; keyword arguments change single fields."""
    return _byte_level_vocabulary


@pytest.fixture(scope="session")
def sentencepiece() -> Callable[..., TinyVocabulary]:
    """A SentencePiece vocabulary; keyword arguments change single fields."""
    return _sentencepiece_vocabulary


@pytest.fixture
def tiny_gguf(tmp_path: Path) -> Callable[..., Path]:
    """Write a tiny Llama into a GGUF file; keyword arguments change single fields of TinyLlama."""

    def write(vocabulary: TinyVocabulary | None = None, **changes: Any) -> Path:
        return TinyLlama(vocabulary or _byte_level_vocabulary(), **changes).write(tmp_path / "tiny.gguf")

    return write


@pytest.fixture
def imports(tmp_path: Path) -> Callable[..., tuple[Path, Imported]]:
    """Import a source into a folder of the test's own; returns the folder and what the import says of it."""

    def run(source: Path, **options: Any) -> tuple[Path, Imported]:
        folder = tmp_path / "imported"
        return folder, import_model(source, folder, progress=silent, **options)

    return run
