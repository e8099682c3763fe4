"""The command: what a person sees, and what is on the disk afterwards."""

import resource
import struct
import subprocess
import sys
import tracemalloc
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from pagelet_api.model_folder import verify
from pagelet_engine.importer.__main__ import main
from pagelet_engine.importer.destination import check_space
from pagelet_engine.importer.model_import import import_model
from pagelet_engine.importer.refusal import ImportRefused

# One key "a" whose value is said to be an array of 2**62 numbers.
LYING_ARRAY = struct.pack("<4sIQQQcIIQ", b"GGUF", 3, 0, 1, 1, b"a", 9, 4, 2**62)


@pytest.fixture
def destination(tmp_path: Path) -> Path:
    return tmp_path / "new" / "deep" / "model"


def refusal(capsys, *arguments: object) -> str:
    """Run the command, which must fail with one line."""
    assert main([str(argument) for argument in arguments]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("import failed: ")
    assert err.count("\n") == 1
    return err


def test_a_model_is_imported_and_described_in_one_line(tiny_gguf, destination, capsys):
    assert main([str(tiny_gguf()), str(destination)]) == 0

    out, err = capsys.readouterr()
    assert verify(destination) in out
    assert "LlamaForCausalLM, 0.1 M parameters" in out
    assert out.count("\n") == 1
    assert err == ""
    assert list(destination.parent.iterdir()) == [destination]


def test_torch_is_not_needed(tiny_gguf, destination):
    code = (
        "import sys; sys.modules['torch'] = None; from pagelet_engine.importer.__main__ import main; "
        f"sys.exit(main([{str(tiny_gguf())!r}, {str(destination)!r}]))"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "is not a GGUF file: it begins with b''"),
        (b"PK\x03\x04 a zip archive", r"is not a GGUF file"),
        (b"GGUF", "is damaged or cut short"),
        (b"GGUF\x03\x00\x00\x00" + b"\xff" * 16, "is damaged or cut short"),
        (LYING_ARRAY, "is damaged or cut short (wanted"),
    ],
)
def test_a_file_that_is_not_gguf_is_refused(content, sentence, tmp_path, destination, capsys):
    (tmp_path / "model.gguf").write_bytes(content)

    assert sentence in refusal(capsys, tmp_path / "model.gguf", destination)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("share", [0.001, 0.02, 0.1, 0.3, 0.6, 0.95, 0.9999])
def test_a_file_that_is_cut_short_is_refused(share, tiny_gguf, tmp_path, destination, capsys):
    whole = tiny_gguf().read_bytes()
    (tmp_path / "cut.gguf").write_bytes(whole[: int(len(whole) * share)])

    assert "is damaged or cut short" in refusal(capsys, tmp_path / "cut.gguf", destination)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"architecture": "mamba"}, "architecture 'mamba' cannot be imported; supported are: llama"),
        ({"left_out": ("blk.1.attn_k.weight",)}, "has no tensor blk.1.attn_k.weight (1 missing, 0 unknown in all)"),
        ({"left_out": ("token_embd.weight",)}, "has no tensor token_embd.weight"),
        ({"extra_tensors": {"blk.0.attn_gate.weight": np.ones((4, 4), np.float32)}}, "a tensor blk.0.attn_gate.weight"),
        ({"extra_tensors": {"output_norm.weight": np.ones(3, np.float32)}}, "wanted shape (64,), found (3,)"),
        ({"extra_tensors": {"output_norm.weight": np.ones(64, np.int32)}}, "has the type I32, which cannot be read"),
        ({"metadata": {"llama.expert_count": 8}}, "is a mixture of experts"),
        ({"metadata": {"llama.attention.key_length": 24}}, "heads that are rotated in part"),
        ({"metadata": {"split.count": 3}}, "is one of several parts"),
    ],
)
def test_a_model_we_cannot_run_is_refused(changes, sentence, tiny_gguf, destination, capsys):
    assert sentence in refusal(capsys, tiny_gguf(**changes), destination)
    assert not destination.parent.exists()


def test_a_missing_source_is_named(tmp_path, destination, capsys):
    assert f"{tmp_path / 'nothing'} is not there" in refusal(capsys, tmp_path / "nothing", destination)


def test_an_existing_model_is_replaced_only_when_asked(tiny_gguf, tmp_path, capsys):
    model = tmp_path / "model"
    main([str(tiny_gguf()), str(model)])
    first = verify(model)
    other = tiny_gguf(num_layers=1)
    capsys.readouterr()

    assert "exists already; choose another folder, or pass --overwrite" in refusal(capsys, other, model)
    assert verify(model) == first

    assert main([str(other), str(model), "--overwrite"]) == 0
    assert verify(model) != first
    assert {path.name for path in tmp_path.iterdir()} == {"model", "tiny.gguf"}


def test_a_failed_replacement_leaves_the_old_model_as_it_was(tiny_gguf, tmp_path, capsys):
    model = tmp_path / "model"
    main([str(tiny_gguf()), str(model)])
    first = verify(model)
    capsys.readouterr()

    refusal(capsys, tiny_gguf(architecture="mamba"), model, "--overwrite")

    assert verify(model) == first


def test_a_folder_that_is_not_a_model_is_never_replaced(tiny_gguf, tmp_path, capsys):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter-1.txt").write_text("years of work")

    assert "is not a model folder and will not be replaced" in refusal(
        capsys, tiny_gguf(), tmp_path / "thesis", "--overwrite"
    )
    assert (tmp_path / "thesis" / "chapter-1.txt").read_text() == "years of work"


def test_an_empty_folder_may_be_filled(tiny_gguf, tmp_path):
    (tmp_path / "model").mkdir()

    assert main([str(tiny_gguf()), str(tmp_path / "model")]) == 0
    verify(tmp_path / "model")


def test_the_source_is_never_replaced_by_its_own_import(tiny_gguf, capsys):
    path = tiny_gguf()

    assert "holds the source" in refusal(capsys, path, path.parent, "--overwrite")
    assert path.exists()


def test_a_destination_that_is_a_file_is_refused(tiny_gguf, tmp_path, capsys):
    (tmp_path / "model").write_text("x")

    assert "is a file; choose a folder" in refusal(capsys, tiny_gguf(), tmp_path / "model", "--overwrite")


def test_too_little_space_is_refused_with_the_numbers(tmp_path):
    check_space(tmp_path, 10**9, 2 * 10**9)

    with pytest.raises(ImportRefused, match="the model needs 1,000 MB and 67 MB to spare, 1,050 MB are free"):
        check_space(tmp_path, 10**9, 1_050 * 10**6)


def test_a_disk_that_fills_up_meanwhile_leaves_nothing_behind(tiny_gguf, tmp_path, destination):
    def full_disk() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

    command = [sys.executable, "-m", "pagelet_engine.importer", str(tiny_gguf()), str(destination)]
    done = subprocess.run(command, preexec_fn=full_disk, capture_output=True, text=True, check=False)

    assert done.returncode == 1
    assert done.stderr == f"import failed: writing {destination} failed: File too large\n"
    assert not (tmp_path / "new").exists()


def test_an_interrupted_import_leaves_nothing_behind(tiny_gguf, tmp_path, destination):
    @contextmanager
    def interrupting(title, total_bytes):
        def advance(num_bytes):
            raise KeyboardInterrupt

        yield advance

    with pytest.raises(KeyboardInterrupt):
        import_model(tiny_gguf(), destination, progress=interrupting)

    assert not (tmp_path / "new").exists()


def test_progress_counts_every_byte_once(tiny_gguf, destination):
    announced, done = {}, {}

    @contextmanager
    def counting(title, total_bytes):
        announced[title], done[title] = total_bytes, 0

        def advance(num_bytes):
            done[title] += num_bytes

        yield advance

    import_model(tiny_gguf(), destination, progress=counting)

    assert list(announced) == ["importing weights", "writing the manifest"]
    assert done == announced


def test_memory_does_not_grow_with_the_size_of_a_tensor(tiny_gguf, destination):
    path = tiny_gguf(num_layers=1, intermediate_size=128 * 1024)  # three tensors of 33 MB
    tracemalloc.start()
    try:
        import_model(path, destination, progress=lambda title, total_bytes: _quiet())
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak_bytes < 16 * 2**20


@contextmanager
def _quiet():
    yield lambda num_bytes: None
