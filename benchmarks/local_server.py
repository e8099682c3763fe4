"""Pagelet as a user runs it, for a benchmark: a service made for it, started, waited for and stopped."""

import json
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pagelet_api import names

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.append(str(REPOSITORY / "tools"))  # benchmarks are scripts: nothing installs them

from local_service import (  # noqa: E402
    LocalService,
    LocalServiceFailed,
    start,
)
from local_service import free_port as free_port  # noqa: E402
from local_service import is_ready as is_ready  # noqa: E402
from local_service import metrics as metrics  # noqa: E402

MODEL = REPOSITORY / "build" / "models" / "smollm2-135m-instruct"
START_LIMIT_S = 300


class ServerFailed(Exception):
    """It cannot start, did not start, or did not stop; the message says why."""


@dataclass(frozen=True, slots=True)
class Server:
    local: LocalService
    model: str

    @property
    def url(self) -> str:
        return self.local.url

    @property
    def started_s(self) -> float:
        """`time.monotonic()` when its process was made."""
        return self.local.started_s

    def engine_metrics(self) -> dict[str, float]:
        """The first engine's numbers by name, summed over labels."""
        return self.local.engine_metrics()

    def wait_until_ready(self) -> None:
        """Raises ServerFailed when it ends, or takes too long."""
        try:
            self.local.wait_until_ready(START_LIMIT_S)
        except LocalServiceFailed as failed:
            raise ServerFailed(str(failed)) from failed


@contextmanager
def pagelet_up(service: Mapping[str, Any]) -> Iterator[Server]:
    """Start the service; yields at once, before it is ready. Raises ServerFailed when it does not stop cleanly."""
    with tempfile.TemporaryDirectory(prefix="pagelet-benchmark-") as name:
        folder = Path(name)
        (folder / "service.yaml").write_text(json.dumps(service))  # JSON is YAML
        with (folder / "up.log").open("wb") as log:
            local = start(folder / "service.yaml", folder / "state", output=log)
        try:
            yield Server(local, service["metadata"]["name"])
            local.stop()
        except LocalServiceFailed as failed:
            raise ServerFailed(str(failed)) from failed
        finally:
            local.kill()


def check_model(folder: Path) -> None:
    """Raises ServerFailed when there is no model to serve."""
    if not (folder / "config.json").is_file():
        raise ServerFailed(f"{folder} is not a model folder; `make model` makes the default one")


def service(model: Path, **engine: Any) -> dict[str, Any]:
    """An InferenceService of one engine and one gateway on this machine's CPU; keywords are fields of spec.engine."""
    return {
        "apiVersion": f"{names.GROUP}/{names.VERSION}",
        "kind": "InferenceService",
        "metadata": {"name": "benchmark"},
        "spec": {
            "replicas": 1,
            "model": {"source": {"path": str(model)}},
            "engine": {"device": "cpu", "kvCacheMemory": "1Gi", "maxNumSeqs": 64, **engine},
            "gateway": {"replicas": 1},
        },
    }
