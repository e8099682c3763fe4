"""The weights and the configuration of an imported GGUF file, against transformers' own reading of the same file."""

import json
from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
from pagelet_api.model_folder import verify
from pagelet_engine.importer.gguf_rope import llama3_factors
from pagelet_engine.importer.refusal import ImportRefused
from safetensors import safe_open
from transformers import AutoConfig, AutoModelForCausalLM, LlamaConfig
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

KINDS = ["F32", "F16", "BF16", "Q8_0", "Q5_1", "Q4_1", "Q4_0"]


def weights_as_transformers_reads(path: Path, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    model = AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype=torch.float32)
    tensors = {name: tensor.to(dtype) for name, tensor in model.state_dict().items()}
    if model.config.tie_word_embeddings:
        del tensors["lm_head.weight"]
    return tensors


def weights_of(folder: Path) -> dict[str, torch.Tensor]:
    with safe_open(folder / "model.safetensors", "pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)


def assert_same_bits(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> None:
    assert ours.keys() == theirs.keys()
    different = [name for name in ours if not torch.equal(as_bits(ours[name]), as_bits(theirs[name]))]
    assert different == []


def as_bits(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.contiguous().view(torch.uint8)


@pytest.mark.parametrize("kind", KINDS)
def test_every_weight_has_the_bits_that_transformers_gives(kind, tiny_gguf, imports):
    path = tiny_gguf(kind=gguf.GGMLQuantizationType[kind])

    folder, _ = imports(path)

    assert_same_bits(weights_of(folder), weights_as_transformers_reads(path, torch.bfloat16))


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_the_type_of_the_weights_can_be_chosen(dtype, tiny_gguf, imports):
    path = tiny_gguf()

    folder, _ = imports(path, dtype=dtype)

    assert_same_bits(weights_of(folder), weights_as_transformers_reads(path, getattr(torch, dtype)))
    assert AutoConfig.from_pretrained(folder).dtype is getattr(torch, dtype)


@pytest.mark.parametrize(
    "shape",
    [
        {"tied": False},
        {"num_heads": 4, "num_kv_heads": 4},
        {"num_heads": 9, "num_kv_heads": 3, "hidden_size": 144},
        {"head_dim": 32},
        {"num_layers": 1, "hidden_size": 32, "num_heads": 2, "num_kv_heads": 1},
    ],
    ids=str,
)
def test_shapes_of_all_kinds_come_through(shape, tiny_gguf, imports):
    path = tiny_gguf(**shape)

    folder, imported = imports(path)

    ours = weights_of(folder)
    assert_same_bits(ours, weights_as_transformers_reads(path, torch.bfloat16))
    assert imported.parameters == sum(tensor.numel() for tensor in ours.values())


def test_an_imported_model_computes_the_same_logits(tiny_gguf, imports):
    path = tiny_gguf(tied=False)
    folder, _ = imports(path, dtype="float32")
    tokens = torch.arange(40)[None]

    ours = AutoModelForCausalLM.from_pretrained(folder)(tokens).logits
    theirs = AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype=torch.float32)(tokens).logits

    assert torch.equal(ours, theirs)


def test_biases_are_imported_with_the_rows_they_belong_to(tiny_gguf, imports):
    path = tiny_gguf(biased=True)
    folder, _ = imports(path, dtype="float32")
    stored = {tensor.name: tensor.data for tensor in gguf.GGUFReader(path).tensors}

    model = AutoModelForCausalLM.from_pretrained(folder)

    attention = model.model.layers[0].self_attn
    assert torch.equal(attention.v_proj.bias, torch.tensor(stored["blk.0.attn_v.bias"]))
    # A head's rows lie interleaved in the file: 0, 2, 4, … first, then 1, 3, 5, …
    head = stored["blk.0.attn_q.bias"][:16]
    assert torch.equal(attention.q_proj.bias[:16], torch.tensor(np.concatenate([head[0::2], head[1::2]])))


def test_the_configuration_is_the_one_that_transformers_reads(tiny_gguf, imports):
    path = tiny_gguf(tied=False)
    folder, _ = imports(path)

    ours = AutoConfig.from_pretrained(folder).to_dict()
    theirs = AutoConfig.from_pretrained(path.parent, gguf_file=path.name).to_dict()

    # Each says some things that the other leaves out, and float32's eps has a shorter name.
    for said_once in ("architectures", "dtype", "_name_or_path", "unk_token_id"):
        ours.pop(said_once, None)
        theirs.pop(said_once, None)
    assert np.float32(ours.pop("rms_norm_eps")) == np.float32(theirs.pop("rms_norm_eps"))
    assert ours == theirs


def test_llama_3_scaling_is_found_again_from_its_factors(tiny_gguf, imports):
    factors = llama3_factors(10000.0, 16, 32.0).astype(np.float32)
    folder, _ = imports(tiny_gguf(extra_tensors={"rope_freqs.weight": factors}))

    assert json.loads((folder / "config.json").read_text())["rope_parameters"] == {
        "rope_type": "llama3",
        "rope_theta": 10000.0,
        "factor": 32.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
    }


@pytest.mark.parametrize(("theta", "head_dim", "factor"), [(500000.0, 128, 8.0), (500000.0, 64, 32.0)])
def test_llama_3_factors_are_those_of_transformers(theta, head_dim, factor):
    scaling = {
        "rope_type": "llama3",
        "rope_theta": theta,
        "factor": factor,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
    }
    config = LlamaConfig(head_dim=head_dim, rope_parameters=scaling)
    frequencies, _ = ROPE_INIT_FUNCTIONS["llama3"](config, device="cpu")

    plain = theta ** (-torch.arange(0, head_dim, 2).double() / head_dim)

    np.testing.assert_allclose(
        llama3_factors(theta, head_dim, factor), (plain / frequencies.double()).numpy(), rtol=1e-5
    )


def test_factors_that_are_not_llama_3s_are_refused(tiny_gguf, imports):
    factors = np.linspace(1, 8, 8).astype(np.float32)

    with pytest.raises(ImportRefused, match=r"rope_freqs\.weight is not Llama 3's scaling"):
        imports(tiny_gguf(extra_tensors={"rope_freqs.weight": factors}))


def test_linear_scaling_is_kept_and_any_other_refused(tiny_gguf, imports):
    linear = {"llama.rope.scaling.type": "linear", "llama.rope.scaling.factor": 4.0}
    folder, _ = imports(tiny_gguf(metadata=linear))
    rope = json.loads((folder / "config.json").read_text())["rope_parameters"]
    assert rope == {"rope_type": "linear", "rope_theta": 10000.0, "factor": 4.0}

    with pytest.raises(ImportRefused, match="rope scaling 'yarn' cannot be imported"):
        imports(tiny_gguf(metadata={"llama.rope.scaling.type": "yarn"}), overwrite=True)


def test_the_real_model_has_the_bits_that_transformers_gives(smollm2, smollm2_gguf):
    assert_same_bits(weights_of(smollm2), weights_as_transformers_reads(smollm2_gguf, torch.bfloat16))


def test_the_real_model_is_verified_and_ends_at_its_end_of_turn(smollm2):
    assert verify(smollm2).startswith("sha256:")
    assert json.loads((smollm2 / "generation_config.json").read_text())["eos_token_id"] == 2
