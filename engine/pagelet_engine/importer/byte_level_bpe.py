"""Byte-level BPE tokenizers ("gpt2" in GGUF): GPT-2, Llama 3, SmolLM2, Qwen2.

They differ in how text is cut before bytes are merged. GGUF names the cut (`tokenizer.ggml.pre`); here each name stands
for what the vocabulary's published tokenizer.json does.
"""

from dataclasses import dataclass

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

from pagelet_engine.importer.gguf_vocabulary import Vocabulary
from pagelet_engine.importer.refusal import ImportRefused


@dataclass(frozen=True, slots=True)
class _Cut:
    pattern: str = ""
    """Empty: GPT-2's own, which the library knows."""
    digits_apart: bool = False
    ignores_merges: bool = False
    """A piece that is a token is taken whole, whether or not merges lead to it."""
    adds_bos: bool = False
    """Unless the file says otherwise."""
    composes: bool = False
    """Text is brought to Unicode's composed form first."""


_LLAMA3 = _Cut(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    ignores_merges=True,
    adds_bos=True,
)
_QWEN2 = _Cut(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    composes=True,
)
_CUTS = {
    "": _Cut(),
    "default": _Cut(),
    "gpt-2": _Cut(),
    "smollm": _Cut(digits_apart=True),
    "llama-bpe": _LLAMA3,
    "llama3": _LLAMA3,
    "llama-v3": _LLAMA3,
    "qwen2": _QWEN2,
    "deepseek-r1-qwen": _QWEN2,
}


def byte_level_bpe(vocabulary: Vocabulary) -> Tokenizer:
    """Raises ImportRefused for a cut we do not know: a guess would tokenise almost right, which is worse."""
    cut = _cut(vocabulary)
    tokenizer = Tokenizer(models.BPE(vocabulary.ids, vocabulary.merge_pairs, ignore_merges=cut.ignores_merges))
    if cut.composes:
        tokenizer.normalizer = normalizers.NFC()
    steps: list[pre_tokenizers.PreTokenizer] = []
    if cut.digits_apart:
        steps.append(pre_tokenizers.Digits(individual_digits=True))
    if cut.pattern:
        steps.append(pre_tokenizers.Split(Regex(cut.pattern), behavior="isolated"))
    steps.append(pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=not cut.pattern))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(steps)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def adds_bos(vocabulary: Vocabulary) -> bool:
    """Whether text begins with the beginning-of-sequence token when the file does not say."""
    return _cut(vocabulary).adds_bos


def _cut(vocabulary: Vocabulary) -> _Cut:
    if vocabulary.pre not in _CUTS:
        known = ", ".join(name for name in _CUTS if name)
        raise ImportRefused(f"pre-tokenizer {vocabulary.pre!r} is not known; supported are: {known}")
    return _CUTS[vocabulary.pre]
