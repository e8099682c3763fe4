"""The vocabulary in a GGUF file's metadata: tokens, their types, the special ones, the chat template.

It refuses to know how text becomes tokens.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from pagelet_engine.importer.gguf_file import GgufFile
from pagelet_engine.importer.refusal import ImportRefused


class TokenType(IntEnum):
    """`tokenizer.ggml.token_type`, as the GGUF specification numbers it."""

    NORMAL = 1
    UNKNOWN = 2
    CONTROL = 3
    USER_DEFINED = 4
    UNUSED = 5
    BYTE = 6


# What ends a turn in the chat formats in use. A model's own end-of-sequence token often is the end of a document.
_END_OF_TURN_TOKENS = ("<|im_end|>", "<|eot_id|>", "<|end_of_turn|>", "<end_of_turn>", "<|eom_id|>", "<|end|>")


@dataclass(frozen=True, slots=True)
class Vocabulary:
    model: str
    """`tokenizer.ggml.model`: gpt2, llama, …"""
    pre: str
    """`tokenizer.ggml.pre`: which pre-tokenizer; empty when the file does not say."""
    tokens: Sequence[str]
    types: Sequence[TokenType]
    scores: Sequence[float]
    """Empty when the file has none."""
    merges: Sequence[str]
    bos: int | None
    eos: int | None
    unknown: int | None
    padding: int | None
    adds_bos: bool | None
    """None: the file does not say."""
    adds_eos: bool
    adds_space_prefix: bool
    chat_template: str
    """Empty when there is none."""
    end_of_turn: tuple[int, ...]
    """Tokens other than eos that end an answer."""

    def text(self, token_id: int | None) -> str | None:
        return None if token_id is None else self.tokens[token_id]

    @property
    def ids(self) -> dict[str, int]:
        return {token: token_id for token_id, token in enumerate(self.tokens)}

    @property
    def merge_pairs(self) -> list[tuple[str, str]]:
        return [_pair(merge) for merge in self.merges]

    @property
    def eos_ids(self) -> tuple[int, ...]:
        return ((self.eos,) if self.eos is not None else ()) + self.end_of_turn


# What llama.cpp takes for granted in a SentencePiece vocabulary whose file does not say.
_SENTENCEPIECE_IDS = {"unknown": 0, "bos": 1, "eos": 2}


def read_vocabulary(file: GgufFile, num_embeddings: int) -> Vocabulary:
    """Raises ImportRefused when the metadata contradicts itself, or has more tokens than the model has embeddings."""
    model = file.required("tokenizer.ggml.model", str)
    tokens = file.texts("tokenizer.ggml.tokens")
    if not tokens or len(tokens) > num_embeddings:
        raise ImportRefused(
            f"{file.path}: tokenizer.ggml.tokens: wanted 1 to {num_embeddings} tokens, one an embedding, "
            f"found {len(tokens or ())}"
        )
    types = _per_token(file, "token_type", len(tokens)) or [TokenType.NORMAL] * len(tokens)
    defaults = _SENTENCEPIECE_IDS if model == "llama" else {}

    def special(name: str, key: str) -> int | None:
        token_id = file.optional(f"tokenizer.ggml.{key}_token_id", int, defaults.get(name, -1))
        if token_id >= len(tokens):
            raise ImportRefused(f"{file.path}: {key}_token_id {token_id} is beyond the {len(tokens)} tokens")
        return None if token_id < 0 else token_id

    eos, template = special("eos", "eos"), file.optional("tokenizer.chat_template", str, "")
    ends = {special("eot", "eot"), special("eom", "eom")}
    ends |= {i for i, token in enumerate(tokens) if token in _END_OF_TURN_TOKENS and token in template}
    return Vocabulary(
        model=model,
        pre=file.optional("tokenizer.ggml.pre", str, ""),
        tokens=tokens,
        types=[TokenType(kind) if kind in set(TokenType) else TokenType.NORMAL for kind in types],
        scores=_per_token(file, "scores", len(tokens)) or (),
        merges=file.texts("tokenizer.ggml.merges") or (),
        bos=special("bos", "bos"),
        eos=eos,
        unknown=special("unknown", "unknown"),
        padding=special("padding", "padding"),
        adds_bos=_flag(file, "add_bos_token"),
        adds_eos=bool(_flag(file, "add_eos_token")),
        adds_space_prefix=file.optional("tokenizer.ggml.add_space_prefix", bool, True),
        chat_template=template,
        end_of_turn=tuple(sorted(i for i in ends if i is not None and i != eos)),
    )


def generation_config(vocabulary: Vocabulary) -> dict[str, Any]:
    """generation_config.json: which tokens begin, end and pad."""
    eos = list(vocabulary.eos_ids)
    return {
        "bos_token_id": vocabulary.bos,
        "eos_token_id": eos[0] if len(eos) == 1 else eos or None,
        "pad_token_id": vocabulary.padding,
    }


def _per_token(file: GgufFile, key: str, count: int) -> Sequence[Any] | None:
    values = file.numbers(f"tokenizer.ggml.{key}")
    if values is not None and len(values) != count:
        raise ImportRefused(
            f"{file.path}: tokenizer.ggml.{key}: wanted one for each of {count} tokens, found {len(values)}"
        )
    return values


def _flag(file: GgufFile, key: str) -> bool | None:
    name = f"tokenizer.ggml.{key}"
    return file.required(name, bool) if file.has(name) else None


def _pair(merge: str) -> tuple[str, str]:
    left, separator, right = merge.partition(" ")
    if not (left and separator and right):
        raise ImportRefused(f"a merge in the file is not two tokens: {merge!r}")
    return left, right
