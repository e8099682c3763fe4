"""A vocabulary → tokenizer.json, tokenizer_config.json and chat_template.jinja."""

from collections.abc import Callable
from typing import Any

from tokenizers import AddedToken, Tokenizer, processors

from pagelet_engine.importer import byte_level_bpe, sentencepiece_bpe
from pagelet_engine.importer.contents import to_json
from pagelet_engine.importer.gguf_vocabulary import TokenType, Vocabulary
from pagelet_engine.importer.refusal import ImportRefused

_KINDS: dict[str, Callable[[Vocabulary], Tokenizer]] = {
    "gpt2": byte_level_bpe.byte_level_bpe,
    "llama": sentencepiece_bpe.sentencepiece_bpe,
}


def tokenizer_files(vocabulary: Vocabulary, max_length: int) -> dict[str, bytes]:
    """The files by name. Raises ImportRefused for a tokenizer that we cannot rebuild."""
    if vocabulary.model not in _KINDS:
        raise ImportRefused(f"tokenizer {vocabulary.model!r} cannot be imported; supported are: {', '.join(_KINDS)}")
    try:
        tokenizer = _KINDS[vocabulary.model](vocabulary)
    except ImportRefused:
        raise
    except Exception as error:  # the library raises Exception itself for merges whose tokens are not there
        raise ImportRefused(f"the tokenizer in the file contradicts itself: {error}") from error
    bos = _token(vocabulary, vocabulary.bos, _adds_bos(vocabulary))
    eos = _token(vocabulary, vocabulary.eos, vocabulary.adds_eos)
    _add_special_tokens(tokenizer, vocabulary)
    _frame(tokenizer, bos, eos)
    files = {
        "tokenizer.json": tokenizer.to_str(pretty=True).encode(),
        "tokenizer_config.json": to_json(_tokenizer_config(vocabulary, bool(bos), bool(eos), max_length)),
    }
    if vocabulary.chat_template:
        files["chat_template.jinja"] = vocabulary.chat_template.encode()
    return files


def _token(vocabulary: Vocabulary, token_id: int | None, wanted: bool) -> list[str]:
    return [vocabulary.tokens[token_id]] if wanted and token_id is not None else []


def _adds_bos(vocabulary: Vocabulary) -> bool:
    if vocabulary.adds_bos is not None:
        return vocabulary.adds_bos
    return vocabulary.model == "llama" or byte_level_bpe.adds_bos(vocabulary)


def _add_special_tokens(tokenizer: Tokenizer, vocabulary: Vocabulary) -> None:
    """Tokens that are found in text before it is cut: special ones, and those that whoever made the model added."""
    named = {vocabulary.bos, vocabulary.eos, vocabulary.unknown, vocabulary.padding}
    for token_id, (token, kind) in enumerate(zip(vocabulary.tokens, vocabulary.types, strict=True)):
        if kind is TokenType.CONTROL or token_id in named:
            tokenizer.add_special_tokens([AddedToken(token, normalized=False, special=True)])
        elif kind is TokenType.USER_DEFINED:
            tokenizer.add_tokens([AddedToken(token, normalized=False, special=False)])


def _frame(tokenizer: Tokenizer, bos: list[str], eos: list[str]) -> None:
    """Put bos before and eos after every text."""
    if bos or eos:
        tokenizer.post_processor = processors.TemplateProcessing(
            single=[*bos, "$A", *eos],
            pair=[*bos, "$A", *eos, *(f"{token}:1" for token in bos), "$B:1", *(f"{token}:1" for token in eos)],
            special_tokens=[(token, tokenizer.token_to_id(token)) for token in dict.fromkeys((*bos, *eos))],
        )


def _tokenizer_config(vocabulary: Vocabulary, adds_bos: bool, adds_eos: bool, max_length: int) -> dict[str, Any]:
    return {
        "add_bos_token": adds_bos,
        "add_eos_token": adds_eos,
        "bos_token": vocabulary.text(vocabulary.bos),
        "clean_up_tokenization_spaces": False,
        "eos_token": vocabulary.text(vocabulary.eos),
        "model_max_length": max_length,
        "pad_token": vocabulary.text(vocabulary.padding),
        # Reads tokenizer.json as it stands; classes named after models rebuild parts of it from defaults of their own.
        "tokenizer_class": "PreTrainedTokenizerFast",
        "unk_token": vocabulary.text(vocabulary.unknown),
    }
