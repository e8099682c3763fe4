"""A real S3 service on the loopback, over HTTPS with a private authority: versitygw over a folder."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from .certificates import Authority, make_authority

PROGRAM = Path(__file__).resolve().parents[3] / "build" / "e2e" / "bin" / "versitygw"
KEY, SECRET = "a-key-of-the-tests", "the/secret+of the-tests"


@dataclass(frozen=True)
class S3Service:
    port: int
    buckets: Path
    authority: Authority

    @property
    def endpoint(self) -> str:
        return f"https://localhost:{self.port}"

    @property
    def credentials(self) -> Mapping[str, str]:
        # A trailing line break, as `kubectl create secret --from-file` leaves it.
        return {"AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET + "\n", "ca.crt": self.authority.pem}

    def source(self, uri: str, /, **changes: Any) -> dict[str, Any]:
        settings = {"uri": uri, "endpoint": self.endpoint, "signed": True, "hasCaBundle": True}
        return {"s3": settings | changes}

    def folder(self, bucket: str, prefix: str) -> Path:
        """Where the objects of a prefix lie; what is written there is in the bucket."""
        folder = self.buckets / bucket / prefix
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        return folder


@contextmanager
def start_s3_service(folder: Path) -> Iterator[S3Service]:
    if not PROGRAM.exists():
        pytest.skip("missing: versitygw, an S3 service; `make versitygw` builds it (needs Go)")
    authority, buckets, port = make_authority(folder / "tls"), folder / "buckets", _free_port()
    buckets.mkdir()
    command = [PROGRAM, "--access", KEY, "--secret", SECRET, "--port", f"127.0.0.1:{port}"]
    command += ["--cert", authority.server_certificate, "--key", authority.server_key]
    log = folder / "log"
    with log.open("w") as output:
        process = subprocess.Popen(
            [*map(str, command), "posix", "--nometa", str(buckets)],
            stdout=output,
            stderr=output,
            env={"PATH": os.environ["PATH"]},
        )
    try:
        _wait(process, port, log)
        yield S3Service(port, buckets, authority)
    finally:
        process.terminate()
        process.wait(10)


def _wait(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline_s = time.monotonic() + 20
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline_s, log.read_text()
            time.sleep(0.02)


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])
