"""Weights: everything loaded, ignored by name, or an error that says which file and which tensor."""

import json
from pathlib import Path

import pytest
import torch
from pagelet_engine.weights.checkpoint import INDEX, SINGLE, Checkpoint
from pagelet_engine.weights.destination import Destination, Elsewhere, Part, TensorPart, WeightsError
from pagelet_engine.weights.loading import load_weights
from safetensors.torch import load_file, save_file

A, B = torch.arange(6.0).view(2, 3), torch.arange(4.0) + 10


def destinations(**shapes: tuple[int, ...]) -> dict[str, Destination]:
    return {name: TensorPart.whole(torch.full(shape, torch.nan)) for name, shape in shapes.items()}


def test_fills_rows_of_a_fused_parameter_and_converts_its_dtype(tmp_path):
    save_file({"q": A, "k": A + 100}, tmp_path / SINGLE)
    fused = torch.zeros(5, 3, dtype=torch.bfloat16)
    load_weights(Checkpoint(tmp_path), {"q": TensorPart.whole(fused[:2]), "k": TensorPart.whole(fused[3:])})
    assert fused.tolist() == [*A.tolist(), [0.0] * 3, *(A + 100).tolist()]


def test_takes_its_part_of_a_tensor_whose_whole_shape_is_checked(tmp_path):
    save_file({"matrix": A, "vector": B}, tmp_path / SINGLE)
    corner, middle = torch.zeros(1, 2), torch.zeros(2)
    matrix = TensorPart(corner, Part((2, 3), slice(1, 2), slice(1, 3)))
    vector = TensorPart(middle, Part((4, 7), slice(1, 3)).bias)
    load_weights(Checkpoint(tmp_path), {"matrix": matrix, "vector": vector})
    assert (corner.tolist(), middle.tolist()) == ([[4.0, 5.0]], [11.0, 12.0])
    assert (matrix.num_bytes, vector.num_bytes) == (8, 8)
    with pytest.raises(WeightsError, match=r"matrix has shape \(2, 3\), config.json wants \(4, 3\)"):
        load_weights(Checkpoint(tmp_path), {"matrix": TensorPart(corner, Part((4, 3), slice(1, 2))), "vector": vector})


def test_a_part_of_no_rows_takes_nothing():
    TensorPart(torch.zeros(0, 3), Part((2, 3), slice(2, 2))).fill("a", A)


def test_what_another_rank_holds_is_checked_and_left():
    elsewhere = Elsewhere((2, 3))
    elsewhere.fill("a", A)
    with pytest.raises(WeightsError, match=r"b has shape \(4,\)"):
        elsewhere.fill("b", B)


def test_a_weight_stored_as_its_distance_from_one_becomes_whole_in_the_parameters_type():
    weight = torch.zeros(4)
    TensorPart.whole(weight, offset=1.0).fill("a", torch.full((4,), 2.0**-9).bfloat16())
    assert weight.tolist() == [1 + 2.0**-9] * 4  # in bfloat16 it would be 1


def test_no_more_of_a_file_is_read_than_a_ranks_rows(tmp_path):
    rows = 64
    save_file({"a": torch.zeros(rows, 1 << 18)}, tmp_path / SINGLE)  # 64 MiB
    part = TensorPart(torch.empty(4, 1 << 18), Part((rows, 1 << 18), slice(20, 24)))
    for name, tensor in Checkpoint(tmp_path).tensors():
        part.fill(name, tensor)
        assert part.num_bytes <= resident_bytes(tmp_path / SINGLE) < 2 * part.num_bytes


def resident_bytes(path: Path) -> int:
    """Of this process's mappings of the file."""
    resident, is_ours = 0, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if "-" in line.split()[0]:
            is_ours = line.endswith(str(path))
        elif is_ours and line.startswith("Rss:"):
            resident += int(line.split()[1]) * 1024
    return resident


def test_a_large_tensor_is_copied_in_pieces():
    rows = torch.arange(9.0)[:, None].expand(9, 2 << 20)  # 75 MB, were it no view
    part = Part((9, 2 << 20), slice(None), slice(7, None))
    into = torch.zeros(9, (2 << 20) - 7, dtype=torch.bfloat16)
    TensorPart(into, part).fill("a", rows)
    assert torch.equal(into, rows[:, 7:].bfloat16())


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
