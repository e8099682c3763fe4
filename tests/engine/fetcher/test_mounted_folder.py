"""A model on a volume that is mounted already."""

import pytest
from pagelet_api.model_folder import verify
from pagelet_api.model_report import FailureReason

from .folders import names_in, write_hf_folder, write_model_folder

PVC = {"pvc": {}}


@pytest.fixture
def mounted(tmp_path):
    folder = tmp_path / "mounted"
    folder.mkdir()
    return folder


def test_a_model_folder_is_verified_where_it_lies(mounted, fetcher):
    digest = write_model_folder(mounted)
    (mounted / "lost+found").mkdir()  # a volume's root has one

    facts = fetcher(PVC, "--folder", mounted, "--digest", digest).facts

    assert (facts.digest, facts.folder, facts.revision) == (digest, "", "")


def test_one_changed_byte_is_found(mounted, fetcher):
    write_model_folder(mounted)
    (mounted / "tokenizer.json").write_text('{"model": []}')
    failure = fetcher(PVC, "--folder", mounted).failure
    assert failure.reason == FailureReason.DIGEST_MISMATCH
    assert "tokenizer.json" in failure.message


def test_another_model_than_the_wanted_one_is_refused(mounted, fetcher):
    write_model_folder(mounted)
    failure = fetcher(PVC, "--folder", mounted, "--digest", "sha256:" + "0" * 64).failure
    assert failure.reason == FailureReason.DIGEST_MISMATCH


def test_links_are_not_followed(mounted, fetcher, tmp_path):
    (tmp_path / "secret").write_text("{}")
    write_model_folder(mounted)
    (mounted / "tokenizer.json").unlink()
    (mounted / "tokenizer.json").symlink_to(tmp_path / "secret")
    for arguments in ((), ("--storage", tmp_path)):
        failure = fetcher(PVC, "--folder", mounted, *arguments).failure
        assert failure.reason == FailureReason.MODEL_INCOMPLETE
        assert "link" in failure.message


def test_a_hugging_face_folder_is_refused_with_what_to_do(mounted, fetcher):
    write_hf_folder(mounted)
    failure = fetcher(PVC, "--folder", mounted).failure
    assert failure.reason == FailureReason.MODEL_INCOMPLETE
    assert "pagelet import" in failure.message


def test_a_hugging_face_folder_is_imported_where_there_is_a_storage(mounted, fetcher, storage, hub):
    write_hf_folder(mounted)
    before = {path.name: path.read_bytes() for path in mounted.iterdir()}

    facts = fetcher(PVC, "--folder", mounted, "--storage", storage).facts

    assert names_in(storage) == [facts.folder]
    assert verify(storage / facts.folder) == facts.digest
    assert {path.name: path.read_bytes() for path in mounted.iterdir()} == before
    hub.folder = mounted
    assert fetcher(hub.source(), "--storage", storage).facts.digest == facts.digest


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda folder: None, FailureReason.SOURCE_NOT_FOUND),
        (lambda folder: folder.rmdir(), FailureReason.SOURCE_NOT_FOUND),
        (lambda folder: (folder / "README").touch(), FailureReason.MODEL_INCOMPLETE),
        (lambda folder: (folder / "manifest.sha256").write_bytes(b"\xff\x00"), FailureReason.MODEL_INCOMPLETE),
    ],
)
def test_a_folder_that_holds_no_model_is_refused(make, reason, mounted, fetcher):
    make(mounted)
    assert fetcher(PVC, "--folder", mounted).failure.reason == reason


@pytest.mark.parametrize(
    "source", ["", "null", "[]", "{}", '{"s3": {}}', '{"pvc": {}, "s3": {"uri": "s3://x"}}', '{"pvc": {}, "more": 1}']
)
def test_a_source_file_of_nonsense_is_reported(source, fetcher):
    failure = fetcher(source).failure
    assert failure.reason == FailureReason.INTERNAL
    assert "source.json" in failure.message
