"""Helm, or a skip that names what is missing."""

import shutil

import pytest

from .rendered import ROOT, Helm


@pytest.fixture(scope="session")
def helm(tmp_path_factory: pytest.TempPathFactory) -> Helm:
    program = shutil.which("helm") or shutil.which("helm", path=str(ROOT / "build" / "e2e" / "bin"))
    if program is None:
        pytest.skip("helm is missing: `make helm` builds it, with Go")
    return Helm(program, tmp_path_factory.mktemp("helm"))
