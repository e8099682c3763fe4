"""Safetensors files as we write them, read by the format's own library; and broken ones."""

import json
from pathlib import Path

import numpy as np
import pytest
from pagelet_engine.importer.contents import NewTensor
from pagelet_engine.importer.refusal import ImportRefused
from pagelet_engine.importer.safetensors_file import INDEX, read_header, write_file, write_shards
from safetensors.numpy import load_file


def tensor(name: str, values: np.ndarray, dtype: str = "float32") -> NewTensor:
    return NewTensor(name, dtype, values.shape, lambda: iter(np.array_split(values, 3)))


def test_what_is_written_is_read_back_by_the_formats_own_library(tmp_path: Path):
    wanted = {
        "halves": np.arange(7, dtype=np.float16),
        "matrix": np.arange(12, dtype=np.float32).reshape(3, 4),
        "empty": np.zeros((0, 4), np.float32),
    }
    dtypes = {"halves": "float16", "matrix": "float32", "empty": "float32"}
    written = []

    tensors = [tensor(name, values, dtypes[name]) for name, values in wanted.items()]
    write_file(tmp_path / "model.safetensors", tensors, written.append)

    found = load_file(tmp_path / "model.safetensors")
    assert found.keys() == wanted.keys()
    assert all(np.array_equal(found[name], wanted[name]) for name in wanted)
    assert sum(written) == sum(values.nbytes for values in wanted.values())


def test_the_data_begins_on_a_cache_line(tmp_path: Path):
    write_file(tmp_path / "a.safetensors", [tensor("a", np.ones(3, np.float32))], lambda num_bytes: None)

    assert read_header(tmp_path / "a.safetensors")[0].offset % 64 == 0


def test_a_model_larger_than_a_shard_is_cut_between_tensors(tmp_path: Path):
    values = {f"t{i}": np.full(100, i, np.float32) for i in range(5)}

    write_shards(tmp_path, [tensor(name, value) for name, value in values.items()], 900, lambda num_bytes: None)

    files = sorted(path.name for path in tmp_path.glob("*.safetensors"))
    assert files == [f"model-0000{number}-of-00003.safetensors" for number in (1, 2, 3)]
    index = json.loads((tmp_path / INDEX).read_text())
    assert index["metadata"] == {"total_size": 2000}
    assert set(index["weight_map"].values()) == set(files)
    for name, value in values.items():
        assert np.array_equal(load_file(tmp_path / index["weight_map"][name])[name], value)


def damaged(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def with_header(header: object, data: bytes = b"") -> bytes:
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "not a whole safetensors file"),
        (b"\xff" * 16, "not a whole safetensors file"),
        (b"\x10" + bytes(7) + b"{}", "is cut short: its header wants 24 bytes, found 10"),
        (with_header([1]), "not a whole safetensors file"),
        (with_header({"a": {}}), "not a whole safetensors file"),
        (with_header({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}}, bytes(4)), "not a whole"),
        (with_header({"a": {"dtype": "F32", "shape": [2], "data_offsets": [-8, 0]}}), "not a whole"),
        (with_header({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}, bytes(7)), "is cut short"),
        (with_header({"a": {"dtype": "I32", "shape": [1], "data_offsets": [0, 4]}}, bytes(4)), "stored as I32"),
        (with_header({"a": {"dtype": "F8_E4M3", "shape": [1], "data_offsets": [0, 1]}}, bytes(1)), "not quantised"),
    ],
)
def test_a_damaged_file_is_refused(content, sentence, tmp_path: Path):
    with pytest.raises(ImportRefused, match=sentence):
        read_header(damaged(tmp_path / "a.safetensors", content))
