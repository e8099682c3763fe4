"""Importing a Hugging Face folder, as transformers saves it and as people find it."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from pagelet_api.model_folder import verify
from pagelet_engine.importer.refusal import ImportRefused
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast


@pytest.fixture(scope="module")
def saved(tmp_path_factory, byte_level) -> Path:
    """A tiny Llama in bfloat16 with its tokenizer, in shards, as `save_pretrained` leaves it."""
    folder = tmp_path_factory.mktemp("saved")
    vocabulary = byte_level()
    torch.manual_seed(0)
    config = LlamaConfig(
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        vocab_size=len(vocabulary.tokens),
        eos_token_id=2,
    )
    LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(folder, max_shard_size="60KB")
    merges = [tuple(merge.split(" ")) for merge in vocabulary.merges]
    tokenizer = Tokenizer(models.BPE({token: i for i, token in enumerate(vocabulary.tokens)}, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<|im_start|>", eos_token="<|im_end|>")
    fast.chat_template = vocabulary.chat_template
    fast.save_pretrained(folder)
    return folder


@pytest.fixture
def source(saved: Path, tmp_path: Path) -> Path:
    """A copy of that folder, to break."""
    return Path(shutil.copytree(saved, tmp_path / "source"))


def weights(folder: Path, dtype: torch.dtype | str = "auto") -> dict[str, torch.Tensor]:
    return AutoModelForCausalLM.from_pretrained(folder, dtype=dtype).state_dict()


def edit(path: Path, **changes: object) -> None:
    values = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({key: value for key, value in values.items() if value is not None}))


def test_a_folder_in_shards_becomes_the_same_model_in_one_file(source, imports):
    assert (source / "model.safetensors.index.json").exists()

    folder, imported = imports(source)

    assert verify(folder) == imported.digest
    assert (folder / "model.safetensors").exists()
    ours, theirs = weights(folder), weights(source)
    assert ours.keys() == theirs.keys()
    assert all(ours[name].dtype is torch.bfloat16 and torch.equal(ours[name], theirs[name]) for name in theirs)


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_weights_are_rounded_to_the_type_that_is_asked_for(dtype, source, imports):
    folder, _ = imports(source, dtype=dtype)

    ours, theirs = weights(folder), weights(source, getattr(torch, dtype))
    assert all(ours[name].dtype is theirs[name].dtype and torch.equal(ours[name], theirs[name]) for name in theirs)


def test_a_model_larger_than_a_shard_is_still_read_by_transformers(source, imports):
    folder, _ = imports(source, shard_bytes=50_000)

    assert len(list(folder.glob("model-*-of-*.safetensors"))) > 2
    ours, theirs = weights(folder), weights(source)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    verify(folder)


def test_the_tokenizer_comes_along(source, imports):
    folder, _ = imports(source)

    ours, theirs = AutoTokenizer.from_pretrained(folder), AutoTokenizer.from_pretrained(source)
    messages = [{"role": "user", "content": "The quick brown fox, 12 times"}]
    assert ours.get_vocab() == theirs.get_vocab()
    assert ours.special_tokens_map == theirs.special_tokens_map
    assert ours.apply_chat_template(messages) == theirs.apply_chat_template(messages)


@pytest.mark.parametrize(
    "template",
    ["{{ messages }}", [{"name": "tool_use", "template": "no"}, {"name": "default", "template": "{{ messages }}"}]],
    ids=["one", "several"],
)
def test_a_chat_template_inside_the_configuration_gets_a_file_of_its_own(template, source, imports):
    (source / "chat_template.jinja").unlink()
    edit(source / "tokenizer_config.json", chat_template=template)

    folder, _ = imports(source)

    assert (folder / "chat_template.jinja").read_text() == "{{ messages }}"
    assert "chat_template" not in json.loads((folder / "tokenizer_config.json").read_text())


def test_special_tokens_of_older_checkpoints_are_found_in_their_own_file(source, imports):
    edit(source / "tokenizer_config.json", bos_token=None)
    (source / "special_tokens_map.json").write_text('{"bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>"}')

    folder, _ = imports(source)

    written = json.loads((folder / "tokenizer_config.json").read_text())
    assert (written["bos_token"], written["eos_token"]) == ("<|endoftext|>", "<|im_end|>")


def test_end_tokens_come_from_the_configuration_when_no_file_lists_them(source, imports):
    (source / "generation_config.json").unlink()

    folder, _ = imports(source)

    assert json.loads((folder / "generation_config.json").read_text())["eos_token_id"] == 2


def test_weights_in_pickles_are_ignored_beside_safetensors_and_refused_alone(source, imports):
    (source / "pytorch_model.bin").write_bytes(b"not even a pickle")
    imports(source)

    for path in source.glob("*.safetensors*"):
        path.unlink()
    with pytest.raises(ImportRefused, match=r"weights in pytorch_model\.bin: pickle files are not read"):
        imports(source, overwrite=True)


def one_shard(folder: Path) -> Path:
    return sorted(folder.glob("model-*.safetensors"))[0]


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (lambda f: one_shard(f).unlink(), r"model-00001-of-\d+\.safetensors is missing \(1 of"),
        (lambda f: one_shard(f).write_bytes(one_shard(f).read_bytes()[:-1]), "is cut short"),
        (lambda f: (f / "model.safetensors.index.json").unlink(), "that says which belong together"),
        (lambda f: edit(f / "model.safetensors.index.json", weight_map={}), "has no weight_map"),
        (lambda f: edit(f / "model.safetensors.index.json", weight_map={"a": "../x"}), "not a file of this folder"),
        (lambda f: (f / "config.json").unlink(), r"has no config\.json"),
        (lambda f: (f / "config.json").write_text("{"), r"config\.json is not JSON"),
        (lambda f: (f / "config.json").write_text("[]"), "wanted a JSON object, found list"),
        (lambda f: edit(f / "config.json", architectures=["MambaForCausalLM"]), "MambaForCausalLM is not supported"),
        (lambda f: edit(f / "config.json", hidden_size=None), "hidden_size is missing"),
        (lambda f: edit(f / "config.json", quantization_config={"quant_method": "awq"}), "holds quantised weights"),
        (lambda f: (f / "tokenizer.json").unlink(), r"has no tokenizer\.json"),
        (lambda f: (f / "tokenizer.json").write_text("oops"), r"tokenizer\.json is not JSON"),
    ],
)
def test_a_folder_that_is_not_a_whole_model_is_refused(damage, sentence, source, imports):
    damage(source)

    with pytest.raises(ImportRefused, match=sentence):
        imports(source)


def test_values_beyond_float16_are_refused_rather_than_made_infinite(source, imports):
    model = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32)
    with torch.no_grad():
        model.model.norm.weight[0] = 1e6
    for path in source.glob("*.safetensors*"):
        path.unlink()
    model.save_pretrained(source)

    with pytest.raises(ImportRefused, match=r"model\.norm\.weight has values beyond float16's range"):
        imports(source, dtype="float16")
