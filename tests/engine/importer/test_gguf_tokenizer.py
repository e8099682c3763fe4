"""The tokenizer of an imported GGUF file, against transformers' own reading of the same file."""

import json
from copy import deepcopy
from pathlib import Path

import pytest
from pagelet_engine.importer.refusal import ImportRefused
from tokenizers import Tokenizer, pre_tokenizers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

TEXTS = [
    "",
    " ",
    "Hello, world!",
    "  two spaces, then\ttab and  more",
    "line\nline\n\n\nline\r\nline",
    "It's we'll they'd I'M don't",
    "def f(x):\n    return x**2\n",
    "naïve café Ünïcödé ÀÉÎ",
    "東京は日本の首都です。漢字カタカナ",
    "Привет, мир! مرحبا بالعالم שלום",
    "🙂👍🏽👨‍👩‍👧‍👦 ☃",
    "e\u0301 a\u0308 \u200b\ufeff",
    "<|im_start|>user\nhi<|im_end|>\n",
    "<|endoftext|><|im_start|>",
    "<|im_start",
    "|>",
    "<s>[INST] hi [/INST] yes </s>",
    "a" * 300,
    "!!!??...---___===",
    "https://example.org/a?b=c&d=%20",
    "\x00\x01\x7f",
]
NUMBERS = ["1234567890 3.14159 1,000,000", "x =  12", "\n    1. first\n   22. second", "½ ² ٣ 1½", "in 2024, 007"]
CHAT = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "What is 12 × 7?"},
    {"role": "assistant", "content": "84."},
    {"role": "user", "content": "  And <|im_end|> in text?\n"},
]


def theirs(path: Path) -> PreTrainedTokenizerFast:
    return AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)


def ours(folder: Path) -> PreTrainedTokenizerFast:
    return AutoTokenizer.from_pretrained(folder)


def assert_same(left: PreTrainedTokenizerFast, right: PreTrainedTokenizerFast, texts: list[str]) -> None:
    assert left.get_vocab() == right.get_vocab()
    for text in texts:
        for special in (True, False):
            assert left.encode(text, add_special_tokens=special) == right.encode(text, add_special_tokens=special), text
        tokens = left.encode(text)
        for skip in (True, False):
            assert left.decode(tokens, skip_special_tokens=skip) == right.decode(tokens, skip_special_tokens=skip), text


def digits_apart(tokenizer: PreTrainedTokenizerFast) -> PreTrainedTokenizerFast:
    """Cut text as SmolLM's published tokenizer.json does; transformers takes GPT-2's cut for every such GGUF file."""
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    return tokenizer


@pytest.fixture(scope="module")
def real(smollm2, smollm2_gguf):
    """The imported tokenizer of the real model, and transformers' of its GGUF file."""
    return ours(smollm2), theirs(smollm2_gguf)


def test_the_real_tokenizer_is_the_one_that_transformers_reads(real):
    assert_same(*real, TEXTS)


def test_the_real_tokenizer_cuts_digits_as_the_model_was_trained(real):
    left, right = real
    assert_same(left, digits_apart(deepcopy(right)), TEXTS + NUMBERS)
    assert left.tokenize("x =  12") == ["x", "Ġ=", "ĠĠ", "1", "2"]


def test_every_token_of_the_real_vocabulary_decodes_as_in_transformers(real):
    left, right = real
    every = range(len(right))
    assert len(left) == len(right)
    assert left.batch_decode([[token] for token in every]) == right.batch_decode([[token] for token in every])


def test_the_real_special_tokens_and_chat_template_are_the_same(real):
    left, right = real
    assert left.special_tokens_map == right.special_tokens_map
    assert left.all_special_ids == right.all_special_ids
    for messages in (CHAT, CHAT[1:2], CHAT[:1]):
        for prompt in (True, False):
            options = {"tokenize": False, "add_generation_prompt": prompt}
            assert left.apply_chat_template(messages, **options) == right.apply_chat_template(messages, **options)


@pytest.mark.parametrize("pre", [None, "gpt-2", "default", "llama-bpe", "qwen2"])
def test_byte_level_vocabularies_are_cut_by_their_names(pre, byte_level, tiny_gguf, imports):
    path = tiny_gguf(byte_level(pre=pre))

    folder, _ = imports(path)

    composed = [text for text in TEXTS if "\u0301" not in text]
    assert_same(ours(folder), theirs(path), composed + NUMBERS)


def test_smollms_vocabulary_is_cut_at_every_digit(byte_level, tiny_gguf, imports):
    path = tiny_gguf(byte_level(pre="smollm"))

    folder, _ = imports(path)

    assert_same(ours(folder), digits_apart(theirs(path)), TEXTS + NUMBERS)


def test_qwens_vocabulary_composes_letters_and_accents(byte_level, tiny_gguf, imports):
    folder, _ = imports(tiny_gguf(byte_level(pre="qwen2")))

    tokenizer = ours(folder)

    assert tokenizer.encode("cafe\u0301") == tokenizer.encode("caf\u00e9")


def test_llama_3_takes_a_piece_that_is_a_token_whole(byte_level, tiny_gguf, imports):
    vocabulary = byte_level(pre="llama-bpe")
    unreachable = [*vocabulary.tokens, "zyx"]  # a token that no merge leads to
    grown = byte_level(pre="llama-bpe", tokens=unreachable, types=[*vocabulary.types, 1])

    folder, _ = imports(tiny_gguf(grown))

    assert ours(folder).tokenize("zyx") == ["zyx"]


def test_a_sentencepiece_vocabulary_becomes_the_merges_its_scores_mean(sentencepiece, tiny_gguf, imports):
    path = tiny_gguf(sentencepiece())

    folder, _ = imports(path)

    assert_same(ours(folder), theirs(path), TEXTS + NUMBERS)


def test_characters_outside_a_sentencepiece_vocabulary_become_bytes(sentencepiece, tiny_gguf, imports):
    folder, _ = imports(tiny_gguf(sentencepiece()))

    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))

    snowman = tokenizer.encode("☃", add_special_tokens=False)
    assert snowman.tokens == ["▁", "<0xE2>", "<0x98>", "<0x83>"]
    assert tokenizer.decode(snowman.ids) == "☃"


@pytest.mark.parametrize(("adds_bos", "first"), [(True, "<s>"), (False, "▁"), (None, "<s>")])
def test_sentencepiece_text_begins_with_bos_unless_the_file_says_otherwise(
    adds_bos, first, sentencepiece, tiny_gguf, imports
):
    folder, _ = imports(tiny_gguf(sentencepiece(adds_bos=adds_bos)))

    tokens = Tokenizer.from_file(str(folder / "tokenizer.json")).encode("x").tokens

    assert tokens[0] == first
    assert json.loads((folder / "tokenizer_config.json").read_text())["add_bos_token"] is (first == "<s>")


@pytest.mark.parametrize(
    ("pre", "adds_bos", "begins"),
    [("llama-bpe", None, True), ("llama-bpe", False, False), ("gpt-2", None, False)],
)
def test_byte_level_text_begins_with_bos_as_llama_cpp_has_it(pre, adds_bos, begins, byte_level, tiny_gguf, imports):
    folder, _ = imports(tiny_gguf(byte_level(pre=pre, adds_bos=adds_bos)))

    tokens = Tokenizer.from_file(str(folder / "tokenizer.json")).encode("x").tokens

    assert (tokens[0] == "<|im_start|>") is begins


def test_no_space_is_put_before_text_when_the_file_forbids_it(sentencepiece, tiny_gguf, imports):
    folder, _ = imports(tiny_gguf(sentencepiece(), metadata={"tokenizer.ggml.add_space_prefix": False}))

    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))

    encoded = tokenizer.encode("the fox", add_special_tokens=False)
    assert encoded.tokens[0] == "the"
    assert tokenizer.decode(encoded.ids) == "the fox"


def test_tokens_that_the_model_makers_added_stay_whole_and_are_shown(byte_level, tiny_gguf, imports):
    plain = byte_level()
    vocabulary = byte_level(tokens=[*plain.tokens, "<think>"], types=[*plain.types, 4])

    folder, _ = imports(tiny_gguf(vocabulary))

    tokenizer = ours(folder)
    assert tokenizer.tokenize("a<think>b") == ["a", "<think>", "b"]
    assert tokenizer.decode(tokenizer.encode("a<think>b"), skip_special_tokens=True) == "a<think>b"


def test_the_end_of_a_turn_ends_an_answer_beside_the_end_of_a_document(byte_level, tiny_gguf, imports):
    special = {"bos": 1, "eos": 0, "padding": 0}
    folder, _ = imports(tiny_gguf(byte_level(special=special)))

    generation = json.loads((folder / "generation_config.json").read_text())

    assert generation == {"bos_token_id": 1, "eos_token_id": [0, 2], "pad_token_id": 0}
    assert json.loads((folder / "config.json").read_text())["eos_token_id"] == 0


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"pre": "klingon"}, "pre-tokenizer 'klingon' is not known; supported are: default, gpt-2, smollm"),
        ({"model": "bert"}, "tokenizer 'bert' cannot be imported; supported are: gpt2, llama"),
        ({"merges": ["Ġ nothing-like-it"]}, "the tokenizer in the file contradicts itself"),
        ({"merges": ["one"]}, "a merge in the file is not two tokens: 'one'"),
        ({"special": {"eos": 100000}}, "eos_token_id 100000 is beyond the 420 tokens"),
        ({"types": [1]}, r"tokenizer\.ggml\.token_type: wanted one for each of 420 tokens, found 1"),
    ],
)
def test_a_tokenizer_we_cannot_rebuild_is_refused(changes, sentence, byte_level, tiny_gguf, imports):
    with pytest.raises(ImportRefused, match=sentence):
        imports(tiny_gguf(byte_level(**changes)))


def test_a_sentencepiece_vocabulary_without_scores_is_refused(sentencepiece, tiny_gguf, imports):
    with pytest.raises(ImportRefused, match="neither scores nor merges"):
        imports(tiny_gguf(sentencepiece(scores=None)))
