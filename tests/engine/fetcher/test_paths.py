"""Which names may become files."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pagelet_engine.fetcher.failure import FetchFailed
from pagelet_engine.fetcher.paths import check_paths, is_safe


@pytest.mark.parametrize(
    "path",
    [
        *("", ".", "..", "../x", "x/../y", "x/..", "/etc/passwd", "x//y", "x/", "x\\y", "..\\x", "C:\\x", ".hidden"),
        *("x/.hidden", "x\ny", "x\0y", "x\ry", "\x1b[31m", "x\x7f", "\ud800", "a" * 256, "a/" * 600 + "b", "é" * 200),
    ],
)
def test_names_that_are_no_plain_files_are_refused(path):
    assert not is_safe(path)
    with pytest.raises(FetchFailed):
        check_paths("the source", ["config.json", path])


@pytest.mark.parametrize("path", ["config.json", "a/b/c", "model-00001-of-00002.safetensors", "ünï", "a b", "a..b"])
def test_plain_names_are_taken(path):
    assert is_safe(path)
    check_paths("the source", [path])


@given(st.text())
def test_a_safe_name_stays_inside_whatever_it_is(tmp_path_factory, path):
    if is_safe(path):
        root = tmp_path_factory.getbasetemp()
        assert (root / path).resolve().is_relative_to(root.resolve())
        assert (root / path).resolve() != root.resolve()


def test_a_name_cannot_be_a_file_and_a_folder():
    with pytest.raises(FetchFailed, match="both as a file and as a folder"):
        check_paths("the source", ["a/b", "a", "c"])
