"""Two services for the tests of the whole: one with room, one whose KV pool is far too small for its load."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from .endpoint import Endpoint, manifest, serve


@pytest.fixture(scope="session")
def service(smollm2: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    """SmolLM2 in fp32 with a KV pool that holds the tests' whole load."""
    with serve(manifest(smollm2, dtype="float32"), tmp_path_factory.mktemp("service")) as endpoint:
        yield endpoint


@pytest.fixture(scope="session")
def tight_service(smollm2: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    """The same with 40 blocks: 640 tokens for everybody together."""
    spec = manifest(smollm2, dtype="float32", kvCacheMemory=str(40 * 16 * BYTES_PER_TOKEN))
    with serve(spec, tmp_path_factory.mktemp("tight")) as endpoint:
        yield endpoint


BYTES_PER_TOKEN = 30 * 2 * 3 * 64 * 4
"""SmolLM2-135M's KV cache in fp32: layers × (K, V) × KV heads × head_dim × bytes."""
