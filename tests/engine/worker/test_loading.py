"""What load_worker reports, and how it refuses."""

import json
import shutil

import pytest
import torch
from pagelet_api.config import EngineConfig
from pagelet_api.model_folder import read_digest, write_manifest
from pagelet_engine.worker.device.cpu import cpu_kit
from pagelet_engine.worker.device.execution import Alone
from pagelet_engine.worker.device.loading import load_follower
from pagelet_engine.worker.loading import load_worker
from pagelet_engine.worker.model_facts import ModelError

PAGE_BYTES = 3 * 2 * 2 * 8 * 16 * 4  # layers, K and V, KV heads, head size, tokens, fp32


def config(**settings) -> EngineConfig:
    return EngineConfig(**{"model_name": "tiny", "device": "cpu", "kv_cache_bytes": 1 << 20} | settings)


class FourRanks(Alone):
    size = 4


@pytest.fixture
def folder(tiny_llama, tmp_path):
    """A copy to break."""
    return shutil.copytree(tiny_llama().folder, tmp_path / "model")


def rewrite(folder, name, **change):
    value = json.loads((folder / name).read_text()) if (folder / name).exists() else {}
    (folder / name).write_text(json.dumps(value | change))
    write_manifest(folder)


def test_reports_the_models_facts(tiny_llama):
    tiny = tiny_llama()
    loaded = load_worker(tiny.folder, config(kv_cache_bytes=10 * PAGE_BYTES + 1))
    facts = loaded.model
    assert (loaded.num_blocks, len(loaded.groups)) == (10, 1)
    assert facts.parameters == tiny.reference.num_parameters()
    assert (facts.weight_bytes, facts.dtype, facts.kv_cache_dtype) == (4 * facts.parameters, "float32", "float32")
    assert (facts.vocab_size, facts.max_model_len, facts.device) == (199, 256, "cpu")
    assert (facts.eos_token_ids, facts.bos_token_id) == ((2,), 1)
    assert facts.digest == read_digest(tiny.folder)


def test_the_host_cache_holds_as_many_blocks_as_fit(tiny_llama):
    tiny = tiny_llama()
    loaded = load_worker(tiny.folder, config(host_cache_bytes=7 * PAGE_BYTES + 1))
    assert loaded.num_host_blocks == 7
    assert loaded.costs.copy_s > 0
    assert load_worker(tiny.folder, config()).num_host_blocks == 0


def test_takes_the_checkpoints_dtype_unless_told(tiny_llama):
    folder = tiny_llama(save_dtype=torch.bfloat16).folder
    assert load_worker(folder, config()).model.dtype == "bfloat16"
    assert load_worker(folder, config(dtype="float16")).model.weight_bytes * 2 == (
        load_worker(folder, config(dtype="float32")).model.weight_bytes
    )


def test_end_tokens_are_the_generation_configs_where_it_has_them(folder):
    rewrite(folder, "generation_config.json", eos_token_id=[5, 7, 10**6])
    assert load_worker(folder, config()).model.eos_token_ids == (5, 7)
    (folder / "generation_config.json").unlink()
    rewrite(folder, "config.json", eos_token_id=None, bos_token_id=None)
    facts = load_worker(folder, config()).model
    assert (facts.eos_token_ids, facts.bos_token_id) == ((), None)


def test_a_shorter_length_may_be_asked_for_and_a_longer_one_not(folder):
    assert load_worker(folder, config(max_model_len=100)).model.max_model_len == 100
    with pytest.raises(ModelError, match="maxModelLen: wanted 257 tokens, the model was made for 256"):
        load_worker(folder, config(max_model_len=257))


def test_too_little_memory_is_refused_with_the_sum(folder):
    with pytest.raises(
        ModelError, match=rf"holds 3 blocks of {PAGE_BYTES} bytes .* give it {4 * PAGE_BYTES} bytes or more"
    ):
        load_worker(folder, config(kv_cache_bytes=4 * PAGE_BYTES - 1))


def test_more_memory_than_there_is_is_refused(folder):
    with pytest.raises(ModelError, match="kvCacheMemory: wanted 4611686018427387904 bytes"):
        load_worker(folder, config(kv_cache_bytes=1 << 62))


@pytest.mark.parametrize("quantization", ["int8", "int4"])
def test_a_quantization_that_is_not_computed_with_is_never_ignored(tiny_llama, quantization, monkeypatch):
    monkeypatch.setenv("PAGELET_CPU_INSTRUCTION_SET", "reference")
    folder = tiny_llama(hidden_size=96, intermediate_size=128).folder
    with pytest.raises(ModelError, match=f"quantization: {quantization} wanted, a format of the C\\+\\+ ops"):
        load_worker(folder, config(quantization=quantization))


@pytest.mark.parametrize("quantization", ["int8", "int4"])
def test_quantised_weights_are_of_the_cpu_device_alone(quantization):
    cuda_kit = pytest.importorskip("pagelet_engine.worker.device.cuda_kit", reason="missing: triton")
    with pytest.raises(ModelError, match=f"quantization: {quantization} wanted, .* or device: cpu"):
        cuda_kit.weight_format(config(quantization=quantization), torch.bfloat16, torch.device("cuda"))


@pytest.mark.parametrize("settings", [{"quantization": "fp8"}, {"kv_cache_dtype": "fp8"}], ids=str)
def test_what_only_gpus_compute_with_is_refused_on_a_cpu(folder, settings):
    (value,) = settings.values()
    with pytest.raises(ModelError, match=rf": {value} wanted, which GPUs .* the engine computes on a CPU; set"):
        load_worker(folder, config(dtype="bfloat16", **settings))


def test_quantised_weights_are_of_one_rank_alone():
    with pytest.raises(ModelError, match=r"quantization: int8 wanted, .* and there are 2; set quantization: none"):
        cpu_kit(config(quantization="int8", tensor_parallel_size=2))


def test_a_model_that_cannot_be_spread_is_refused_with_the_sum(folder):
    settings = config(tensor_parallel_size=4)
    sums = r"tensorParallelSize: 6 attention heads, 2 KV heads .* 6 = 1 × 4 \+ 2; sizes that can: 1, 2"
    with pytest.raises(ModelError, match=sums):
        load_follower(folder, settings, FourRanks(), cpu_kit(settings))


def test_a_model_that_cannot_be_quantised_is_refused_with_what_to_set(folder):
    with pytest.raises(ModelError, match=r"left over: qkv 48 = 1 × 32 \+ 16, .* down 100 = 3 × 32 \+ 4; set"):
        load_worker(folder, config(quantization="int4"))
    with pytest.raises(ModelError, match=r"int8 computes in bfloat16 or float32, .* set dtype: bfloat16"):
        load_worker(folder, config(quantization="int8", dtype="float16"))


def test_another_digest_is_refused(folder):
    assert load_worker(folder, config(digest=read_digest(folder))).model.digest == read_digest(folder)
    with pytest.raises(ModelError, match="another model: wanted digest sha256:0"):
        load_worker(folder, config(digest="sha256:" + 64 * "0"))


def test_a_changed_file_is_named_whatever_it_breaks(folder):
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(ModelError, match=r"model\.safetensors is not what manifest\.sha256 says"):
        load_worker(folder, config())


def test_weights_of_another_model_are_refused(folder):
    rewrite(folder, "config.json", intermediate_size=101)
    with pytest.raises(ModelError, match=r"mlp\..*_proj\.weight has shape"):
        load_worker(folder, config())


@pytest.mark.parametrize("text", ["", "[]", "{", '{"architectures": 3}', '{"architectures": ["BertModel"]}'])
def test_a_configuration_that_is_none_is_refused_in_one_line(folder, text):
    (folder / "config.json").write_text(text)
    write_manifest(folder)
    with pytest.raises(ModelError, match=r"config\.json"):
        load_worker(folder, config())


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ModelError, match=r"nowhere"):
        load_worker(tmp_path / "nowhere", config())


@pytest.mark.skipif(torch.cuda.is_available(), reason="missing: a machine without a GPU")
@pytest.mark.parametrize("device", ["cuda", "rocm"])
def test_a_device_that_is_not_there_is_never_replaced_by_another(folder, device):
    with pytest.raises(ModelError, match=f"wanted {device}, found no usable device"):
        load_worker(folder, config(device=device))
