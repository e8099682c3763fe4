"""A model folder: every change of any byte is found, and said."""

import os
import shutil
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pagelet_api.model_folder import MANIFEST, ModelFolderError, read_digest, total_bytes, verify, write_manifest

FILES = {
    "config.json": b"{}",
    "tokenizer.json": b'{"model": {}}',
    "tokenizer_config.json": b"{}",
    "chat_template.jinja": "{{ 'é' }}".encode(),
    "model-00001-of-00002.safetensors": bytes(range(256)) * 5000,
    "model-00002-of-00002.safetensors": b"",
}


def _write(folder):
    for name, content in FILES.items():
        (folder / name).write_bytes(content)
    return folder


@pytest.fixture
def folder(tmp_path):
    write_manifest(_write(tmp_path))
    return tmp_path


def test_an_untouched_folder_is_verified_with_the_digest_it_was_written_with(tmp_path):
    digest = write_manifest(_write(tmp_path))
    assert digest.startswith("sha256:")
    assert read_digest(tmp_path) == verify(tmp_path) == verify(tmp_path, digest) == digest


def test_the_digest_does_not_depend_on_where_the_folder_is(tmp_path):
    digests = set()
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        digests.add(write_manifest(_write(tmp_path / name)))
    assert len(digests) == 1


def test_writing_the_manifest_again_changes_nothing(folder):
    before = (folder / MANIFEST).read_bytes()
    write_manifest(folder)
    assert (folder / MANIFEST).read_bytes() == before


@pytest.mark.skipif(not shutil.which("sha256sum"), reason="sha256sum is not on this machine")
def test_sha256sum_reads_the_manifest(folder):
    result = subprocess.run(["sha256sum", "-c", "--strict", MANIFEST], cwd=folder, capture_output=True, text=True)
    assert result.returncode == 0
    assert result.stdout.count(": OK") == len(FILES)


def test_progress_adds_up_to_all_bytes(folder):
    counts = []
    verify(folder, progress=counts.append)
    assert sum(counts) == total_bytes(folder) == sum(map(len, FILES.values()))


@settings(deadline=None)  # writes and hashes files: as slow as the disk
@given(name=st.sampled_from([name for name, content in FILES.items() if content]), data=st.data())
def test_any_flipped_bit_is_found(tmp_path_factory, name, data):
    folder = _write(tmp_path_factory.mktemp("model"))
    write_manifest(folder)
    content = bytearray(FILES[name])
    content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    (folder / name).write_bytes(content)
    with pytest.raises(ModelFolderError, match=rf"{name} is not what"):
        verify(folder)


def _cut(folder):
    os.truncate(folder / "model-00001-of-00002.safetensors", 1000)


def _remove(folder):
    (folder / "tokenizer.json").unlink()


def _add(folder):
    (folder / "pytorch_model.bin").write_bytes(b"x")


def _add_below(folder):
    (folder / "extra").mkdir()
    (folder / "extra" / "code.py").write_bytes(b"x")


def _link(folder):
    (folder / "config.json").unlink()
    (folder / "config.json").symlink_to("tokenizer.json")


def _no_manifest(folder):
    (folder / MANIFEST).unlink()


def _nothing_listed(folder):
    (folder / MANIFEST).write_bytes(b"")


def _half_a_line(folder):
    text = (folder / MANIFEST).read_bytes()
    (folder / MANIFEST).write_bytes(text[:-60])


def _outside(folder):
    with (folder / MANIFEST).open("a") as file:
        file.write(f"{'0' * 64}  ../secret\n")


def _twice(folder):
    text = (folder / MANIFEST).read_text()
    (folder / MANIFEST).write_text(text + text.splitlines(keepends=True)[0])


@pytest.mark.parametrize(
    ("tamper", "said"),
    [
        (_cut, "model-00001-of-00002.safetensors is not what"),
        (_remove, "tokenizer.json is in manifest.sha256 but not in the folder"),
        (_add, "pytorch_model.bin is in the folder but not in"),
        (_add_below, "extra/code.py is in the folder but not in"),
        (_link, "wanted a plain file, found a link"),
        (_no_manifest, "pagelet import"),
        (_nothing_listed, "line 1: wanted"),
        (_half_a_line, "wanted '<sha256>  <path>'"),
        (_outside, "is not inside"),
        (_twice, "is listed twice"),
    ],
)
def test_tampering_is_found_and_said(folder, tamper, said):
    tamper(folder)
    with pytest.raises(ModelFolderError, match=said):
        verify(folder)


def test_another_digest_than_the_wanted_one_is_refused_before_any_file_is_read(folder):
    wanted = f"sha256:{'0' * 64}"
    with pytest.raises(ModelFolderError, match=f"wanted digest {wanted}, found {read_digest(folder)}"):
        verify(folder, wanted, progress=lambda count: pytest.fail("a file was hashed"))


@pytest.mark.parametrize("missing", ["config.json", "tokenizer.json", "tokenizer_config.json"])
def test_a_folder_without_a_required_file_gets_no_manifest(tmp_path, missing):
    (_write(tmp_path) / missing).unlink()
    with pytest.raises(ModelFolderError, match=f"missing {missing}"):
        write_manifest(tmp_path)
    assert not (tmp_path / MANIFEST).exists()


def test_a_folder_without_weights_gets_no_manifest(tmp_path):
    for file in _write(tmp_path).glob("*.safetensors"):
        file.unlink()
    with pytest.raises(ModelFolderError, match=r"missing \*\.safetensors"):
        write_manifest(tmp_path)


@pytest.mark.parametrize("name", ["two\nlines", "back\\slash", b"\xff"])
def test_names_that_a_manifest_cannot_hold_are_refused(tmp_path, name):
    (_write(tmp_path) / os.fsdecode(name)).write_bytes(b"x")
    with pytest.raises(ModelFolderError, match="rename the file"):
        write_manifest(tmp_path)


def test_a_folder_that_is_not_there_is_said_to_be_nothing(tmp_path):
    with pytest.raises(ModelFolderError, match="wanted a model folder, found nothing"):
        verify(tmp_path / "absent")
