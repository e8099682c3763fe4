"""A real S3 service on the loopback, over HTTPS with a private authority: versitygw over a folder.

Or another one that runs already: PAGELET_TEST_S3 holds JSON with its port, key, secret and authority (a file). `make
e2e-ceph` runs the tests so against a Ceph object gateway.
"""

import json
import os
import shutil
import socket
import ssl
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import obstore
import pytest
from obstore.store import S3Store

from .certificates import make_authority

PROGRAM = Path(__file__).resolve().parents[3] / "build" / "e2e" / "bin" / "versitygw"
KEY, SECRET = "a-key-of-the-tests", "the/secret+of the-tests"


@dataclass(frozen=True)
class S3Service:
    port: int
    buckets: Path
    authority: Path
    key: str = KEY
    secret: str = SECRET

    @property
    def endpoint(self) -> str:
        return f"https://localhost:{self.port}"

    @property
    def credentials(self) -> Mapping[str, str]:
        # A trailing line break, as `kubectl create secret --from-file` leaves it.
        return {
            "AWS_ACCESS_KEY_ID": self.key,
            "AWS_SECRET_ACCESS_KEY": self.secret + "\n",
            "ca.crt": self.authority.read_text(),
        }

    def source(self, uri: str, /, **changes: Any) -> dict[str, Any]:
        settings = {"uri": uri, "endpoint": self.endpoint, "signed": True, "hasCaBundle": True}
        return {"s3": settings | changes}

    def folder(self, bucket: str, prefix: str) -> Path:
        """Where the objects of a prefix lie; what is there when `source` is called is in the bucket."""
        folder = self.buckets / bucket / prefix
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        return folder


class OtherService(S3Service):
    """One that is not a folder: objects are put there."""

    def source(self, uri: str, /, **changes: Any) -> dict[str, Any]:
        bucket, _, prefix = uri.removeprefix("s3://").partition("/")
        if (self.buckets / bucket / prefix).is_dir():
            self._put(bucket, prefix.strip("/"))
        return super().source(uri, **changes)

    def _put(self, bucket: str, prefix: str) -> None:
        store = self._store(bucket)
        old = {each["path"] for page in store.list(prefix) for each in page}
        folder = self.buckets / bucket
        new = {path.relative_to(folder).as_posix(): path for path in (folder / prefix).rglob("*") if path.is_file()}
        store.delete(sorted(old - new.keys()))
        for key, path in new.items():
            store.put(key, path)

    def make_bucket(self, bucket: str) -> None:
        # obstore has no call for it; a signed PUT of the empty key is one.
        request = urllib.request.Request(
            obstore.sign(self._store(bucket), "PUT", "", timedelta(minutes=5)), method="PUT"
        )
        urllib.request.urlopen(request, context=ssl.create_default_context(cafile=self.authority)).close()

    def _store(self, bucket: str) -> S3Store:
        return S3Store(
            bucket,
            endpoint=self.endpoint,
            region="us-east-1",
            access_key_id=self.key,
            secret_access_key=self.secret,
            client_options={"root_certificate": self.authority.read_text()},
        )


@contextmanager
def start_s3_service(folder: Path) -> Iterator[S3Service]:
    if other := os.environ.get("PAGELET_TEST_S3"):
        told = json.loads(other)
        service = OtherService(told["port"], folder / "buckets", Path(told["authority"]), told["key"], told["secret"])
        service.make_bucket("models")
        yield service
        return
    if not PROGRAM.exists():
        pytest.skip("missing: versitygw, an S3 service; `make build/e2e/bin/versitygw` builds it (needs Go)")
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
        yield S3Service(port, buckets, authority.certificate)
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
