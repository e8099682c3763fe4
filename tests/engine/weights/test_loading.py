"""Weights: everything loaded, ignored by name, or an error that says which file and which tensor."""

import json

import pytest
import torch
from pagelet_engine.weights.checkpoint import INDEX, SINGLE, Checkpoint
from pagelet_engine.weights.destination import Destination, TensorRows, WeightsError
from pagelet_engine.weights.loading import load_weights
from safetensors.torch import load_file, save_file

A, B = torch.arange(6.0).view(2, 3), torch.arange(4.0) + 10


def destinations(**shapes: tuple[int, ...]) -> dict[str, Destination]:
    return {name: TensorRows(torch.full(shape, torch.nan)) for name, shape in shapes.items()}


def test_fills_rows_of_a_fused_parameter_and_converts_its_dtype(tmp_path):
    save_file({"q": A, "k": A + 100}, tmp_path / SINGLE)
    fused = torch.zeros(5, 3, dtype=torch.bfloat16)
    load_weights(Checkpoint(tmp_path), {"q": TensorRows(fused[:2]), "k": TensorRows(fused[3:])})
    assert fused.tolist() == [*A.tolist(), [0.0] * 3, *(A + 100).tolist()]


def test_a_missing_tensor_is_named(tmp_path):
    save_file({"a": A}, tmp_path / SINGLE)
    with pytest.raises(WeightsError, match=r"1 tensors are missing from the checkpoint: b;"):
        load_weights(Checkpoint(tmp_path), destinations(a=(2, 3), b=(4,)))


def test_an_unexpected_tensor_is_named(tmp_path):
    save_file({"a": A, "b": B}, tmp_path / SINGLE)
    with pytest.raises(WeightsError, match=r"1 tensors are unknown to the model: b;"):
        load_weights(Checkpoint(tmp_path), destinations(a=(2, 3)))


def test_a_tensor_that_the_model_lists_as_ignored_is_skipped(tmp_path):
    save_file({"a": A, "rotary.7.inv_freq": B}, tmp_path / SINGLE)
    wanted = destinations(a=(2, 3))
    load_weights(Checkpoint(tmp_path), wanted, [r"rotary\.\d+\.inv_freq"])
    torch.testing.assert_close(wanted["a"].into, A)


def test_an_ignored_pattern_covers_whole_names_only(tmp_path):
    save_file({"a": A, "x.scale": B}, tmp_path / SINGLE)
    with pytest.raises(WeightsError, match=r"unknown to the model: x\.scale"):
        load_weights(Checkpoint(tmp_path), destinations(a=(2, 3)), ["x"])


def test_another_shape_is_an_error_and_never_broadcast(tmp_path):
    save_file({"a": torch.ones(1, 3)}, tmp_path / SINGLE)
    with pytest.raises(WeightsError, match=r"a has shape \(1, 3\), config.json wants \(2, 3\)"):
        load_weights(Checkpoint(tmp_path), destinations(a=(2, 3)))


@pytest.mark.parametrize("kept", [0, 7, 20, -1])
def test_a_truncated_file_is_named(tmp_path, kept):
    save_file({"a": A, "b": B}, tmp_path / SINGLE)
    whole = (tmp_path / SINGLE).read_bytes()
    (tmp_path / SINGLE).write_bytes(whole[:kept])
    with pytest.raises(WeightsError, match=r"model\.safetensors is not a whole safetensors file"):
        load_weights(Checkpoint(tmp_path), destinations(a=(2, 3), b=(4,)))


def test_a_pickle_is_not_read(tmp_path):
    torch.save({"a": A}, tmp_path / "pytorch_model.bin")
    with pytest.raises(WeightsError, match="found none"):
        Checkpoint(tmp_path)
    (tmp_path / "pytorch_model.bin").rename(tmp_path / SINGLE)
    with pytest.raises(WeightsError, match="not a whole safetensors file"):
        Checkpoint(tmp_path)


def test_a_single_file_may_have_any_name_and_two_need_an_index(tmp_path):
    save_file({"a": A}, tmp_path / "weights.safetensors")
    assert Checkpoint(tmp_path).names == {"a"}
    save_file({"b": B}, tmp_path / "more.safetensors")
    with pytest.raises(WeightsError, match=r"found more\.safetensors, weights\.safetensors"):
        Checkpoint(tmp_path)


class TestShards:
    @pytest.fixture
    def folder(self, tmp_path):
        save_file({"a": A}, tmp_path / "one.safetensors")
        save_file({"b": B}, tmp_path / "two.safetensors")
        self.write_index(tmp_path, a="one.safetensors", b="two.safetensors")
        return tmp_path

    @staticmethod
    def write_index(folder, **weight_map):
        (folder / INDEX).write_text(json.dumps({"weight_map": weight_map}))

    def test_are_loaded_by_their_index(self, folder):
        wanted = destinations(a=(2, 3), b=(4,))
        load_weights(Checkpoint(folder), wanted)
        torch.testing.assert_close([wanted["a"].into, wanted["b"].into], [A, B])

    def test_a_missing_shard_is_named(self, folder):
        (folder / "two.safetensors").unlink()
        with pytest.raises(WeightsError, match=r"'two\.safetensors'.*incomplete"):
            Checkpoint(folder)

    def test_an_index_cannot_point_outside_the_folder(self, folder):
        self.write_index(folder, a="one.safetensors", b="../two.safetensors")
        with pytest.raises(WeightsError, match="not a file in"):
            Checkpoint(folder)

    def test_a_shard_without_its_tensor_is_named(self, folder):
        self.write_index(folder, a="one.safetensors", b="two.safetensors", c="two.safetensors")
        with pytest.raises(WeightsError, match=r"two\.safetensors lacks c"):
            Checkpoint(folder)

    def test_a_tensor_that_the_index_does_not_know_is_named(self, folder):
        save_file({"b": B, "stray": B + 1}, folder / "two.safetensors")
        with pytest.raises(WeightsError, match="holds stray"):
            Checkpoint(folder)

    @pytest.mark.parametrize("text", ["", "[]", "{}", '{"weight_map": 3}'])
    def test_a_broken_index_is_named(self, folder, text):
        (folder / INDEX).write_text(text)
        with pytest.raises(WeightsError, match=INDEX):
            Checkpoint(folder)


def test_reads_what_transformers_writes_in_shards(tiny_llama):
    folder = tiny_llama(max_shard_size="50KB").folder
    checkpoint = Checkpoint(folder)
    assert len(checkpoint.files) > 1
    for name, tensor in checkpoint.tensors():
        (holder,) = (path for path, names in checkpoint.files.items() if name in names)
        torch.testing.assert_close(tensor, load_file(holder)[name])
