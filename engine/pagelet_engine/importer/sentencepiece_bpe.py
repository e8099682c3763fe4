"""SentencePiece BPE tokenizers with byte fallback ("llama" in GGUF): Llama 2, Mistral 7B.

GGUF keeps their tokens and scores; what tokenizer.json wants instead, an ordered list of merges, is worked out here.
"""

from collections.abc import Iterator

from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from pagelet_engine.importer.gguf_vocabulary import TokenType, Vocabulary
from pagelet_engine.importer.refusal import ImportRefused

_SPACE = "▁"


def sentencepiece_bpe(vocabulary: Vocabulary) -> Tokenizer:
    """Raises ImportRefused when the file has neither merges nor scores."""
    merges = vocabulary.merge_pairs or merges_by_score(vocabulary)
    unknown = vocabulary.text(vocabulary.unknown)
    tokenizer = Tokenizer(models.BPE(vocabulary.ids, merges, unk_token=unknown, fuse_unk=True, byte_fallback=True))
    prepend = "first" if vocabulary.adds_space_prefix else "never"
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement=_SPACE, prepend_scheme=prepend, split=False)
    steps = [decoders.Replace(_SPACE, " "), decoders.ByteFallback(), decoders.Fuse()]
    if vocabulary.adds_space_prefix:
        steps.append(decoders.Strip(content=" ", left=1))
    tokenizer.decoder = decoders.Sequence(steps)
    return tokenizer


def merges_by_score(vocabulary: Vocabulary) -> list[tuple[str, str]]:
    """The merges that tokens and scores imply, best first.

    SentencePiece joins the neighbours whose union scores highest; so every split of a token into two tokens is a merge,
    ranked by the token's score. Among equals the longer left part comes first.
    """
    if not vocabulary.scores:
        raise ImportRefused("a SentencePiece vocabulary with neither scores nor merges cannot be imported")
    ids = vocabulary.ids

    def splits() -> Iterator[tuple[float, int, int, str, str]]:
        for token, kind, score in zip(vocabulary.tokens, vocabulary.types, vocabulary.scores, strict=True):
            if kind in (TokenType.CONTROL, TokenType.UNKNOWN, TokenType.BYTE):
                continue
            for cut in range(1, len(token)):
                left, right = token[:cut], token[cut:]
                if left in ids and right in ids:
                    yield -score, -len(left), -len(right), left, right

    return [(left, right) for *_, left, right in sorted(splits(), key=lambda split: split[:3])]
