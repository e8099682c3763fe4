"""What must be the same on every rank, so that they compute one model."""

import platform
from collections.abc import Mapping
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from pagelet_api.config import EngineConfig
from pagelet_api.model_folder import ModelFolderError, read_digest


def common_facts(model_dir: Path, config: EngineConfig) -> Mapping[str, str]:
    """By name; imports nothing that takes time."""
    return {
        "configuration": f"sha256:{sha256(config.to_json().encode()).hexdigest()[:16]}",
        "model": _digest(model_dir),
        "python": platform.python_version(),
        **{name: _version(name) for name in ("pagelet", "torch")},
    }


def _digest(model_dir: Path) -> str:
    try:
        return read_digest(model_dir)
    except ModelFolderError:
        return "none"  # what is wrong with the folder is told by whoever loads it


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
