"""The service that the demo shows: `pagelet up` on the sample file; what it prints is passed on until it is ready."""

import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from local_service import LocalService, LocalServiceFailed, start

REPOSITORY = Path(__file__).resolve().parent.parent
SAMPLE = Path("manifests/samples/smollm2-local.yaml")
_STATE = REPOSITORY / "build" / "demo"
_START_LIMIT_S = 180


class ServiceFailed(Exception):
    """The message is the line to show; empty when `pagelet up` has said it already."""


class Service:
    def __init__(self, local: LocalService) -> None:
        self._local = local
        self._ready = threading.Event()

    @property
    def url(self) -> str:
        return self._local.url

    def wait_until_ready(self) -> float:
        """Seconds since it was started. Raises ServiceFailed."""
        try:
            took_s = self._local.wait_until_ready(_START_LIMIT_S)
        except LocalServiceFailed as failed:
            raise ServiceFailed("" if self._local.process.poll() is not None else _short(failed)) from failed
        self._ready.set()
        return took_s

    def engine_metrics(self) -> dict[str, float]:
        """The engine's numbers by name. Raises ServiceFailed."""
        try:
            return self._local.engine_metrics()
        except LocalServiceFailed as failed:
            raise ServiceFailed(_short(failed)) from failed

    def pass_on(self) -> None:
        """Print what the child prints; once it is ready, the demo has the word."""
        assert self._local.process.stdout is not None
        for line in self._local.process.stdout:
            if not self._ready.is_set():
                print(f"  {line}", end="", flush=True)


@contextmanager
def running(port: int) -> Iterator[Service]:
    """`pagelet up` until the block ends, then Ctrl-C. Raises ServiceFailed when it does not stop cleanly."""
    print(f"$ pagelet up -f {SAMPLE} --port {port}")
    # In a session of its own: a terminal's Ctrl-C reaches the demo alone, which then stops the service once.
    local = start(REPOSITORY / SAMPLE, _STATE, port=port, output=subprocess.PIPE, own_session=True)
    service = Service(local)
    reader = threading.Thread(target=service.pass_on, daemon=True)
    reader.start()
    try:
        yield service
    finally:
        try:
            local.stop()
        except LocalServiceFailed as failed:
            stopped_badly: LocalServiceFailed | None = failed
        else:
            stopped_badly = None
        reader.join(timeout=5)
    if stopped_badly:
        raise ServiceFailed(_short(stopped_badly))


def _short(failed: LocalServiceFailed) -> str:
    return f"{str(failed).splitlines()[0].rstrip(':')}; its logs: {_STATE / 'logs'}"
