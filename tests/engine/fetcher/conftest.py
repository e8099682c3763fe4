"""The fetcher, a storage folder, and servers on the loopback to fetch from."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from .hub import FakeHub
from .process import Fetcher
from .s3_service import S3Service, start_s3_service


@pytest.fixture
def fetcher(tmp_path: Path) -> Fetcher:
    return Fetcher(tmp_path)


@pytest.fixture
def storage(tmp_path: Path) -> Path:
    folder = tmp_path / "storage"
    folder.mkdir()
    return folder


@pytest.fixture
def hub() -> Iterator[FakeHub]:
    with FakeHub() as hub:
        yield hub


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Service]:
    with start_s3_service(tmp_path_factory.mktemp("s3")) as service:
        yield service


@pytest.fixture
def s3_fetcher(fetcher: Fetcher, s3: S3Service) -> Fetcher:
    fetcher.credentials = dict(s3.credentials)
    return fetcher


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 10 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=10m", "tmpfs", folder], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"missing: the right to mount a small file system ({mounted.stderr.decode().strip()})")
    yield folder
    subprocess.run(["umount", folder], check=True)
