"""Kernels that were compiled elsewhere are found wherever they lie; others go where something can be written."""

from pathlib import Path

import pytest
import triton
from pagelet_engine.kernels.triton.shipped_cache import SHIPPED_ENV, ShippedCache

KEY = "KERNEL"


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(triton.knobs.cache, "dir", str(tmp_path / "own"))
    monkeypatch.delenv(SHIPPED_ENV, raising=False)
    return tmp_path / "own"


def ship(own: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Compile a kernel, and move the whole cache away."""
    cache = ShippedCache(KEY)
    cache.put_group("k.json", {name: cache.put(b"made", name) for name in ("k.json", "k.cubin")})
    own.rename(folder)
    monkeypatch.setenv(SHIPPED_ENV, str(folder))


def test_a_shipped_kernel_is_found_where_it_lies_now(
    own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ship(own, tmp_path / "shipped", monkeypatch)
    group = ShippedCache(KEY).get_group("k.json")
    assert group == {name: str(tmp_path / "shipped" / KEY / name) for name in ("k.json", "k.cubin")}
    assert ShippedCache(KEY).get_file("k.cubin") == group["k.cubin"]


def test_what_was_not_shipped_is_kept_apart_from_what_was(
    own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ship(own, tmp_path / "shipped", monkeypatch)
    cache = ShippedCache("ANOTHER")
    assert cache.get_group("k.json") is None
    cache.put_group("k.json", {"k.json": cache.put(b"made here", "k.json")})
    assert cache.get_group("k.json") == {"k.json": str(own / "ANOTHER" / "k.json")}
    assert not (tmp_path / "shipped" / "ANOTHER").exists()


@pytest.mark.parametrize("broken", ["k.cubin", "__grp__k.json"])
def test_a_kernel_of_which_a_file_is_lost_or_spoilt_is_compiled_again(
    own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    ship(own, tmp_path / "shipped", monkeypatch)
    file = tmp_path / "shipped" / KEY / broken
    file.unlink() if broken == "k.cubin" else file.write_text("{")
    assert ShippedCache(KEY).get_group("k.json") is None


def test_a_folder_that_is_not_there_ships_nothing(own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SHIPPED_ENV, str(tmp_path / "nowhere"))
    assert ShippedCache(KEY).get_group("k.json") is None
    assert ShippedCache(KEY).get_file("k.cubin") is None
