"""A private certificate authority, made on the spot, and a server's certificate signed by it."""

import subprocess
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Authority:
    certificate: Path
    server_certificate: Path
    server_key: Path

    @property
    def pem(self) -> str:
        return self.certificate.read_text()


def make_authority(folder: Path) -> Authority:
    """For servers at localhost and 127.0.0.1."""
    folder.mkdir()
    (folder / "names").write_text("subjectAltName=DNS:localhost,IP:127.0.0.1")
    for arguments in (
        "req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.crt -days 2 -subj /CN=a-private-authority",
        "req -newkey rsa:2048 -nodes -keyout server.key -out server.csr -subj /CN=localhost",
        "x509 -req -in server.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 -extfile names -out server.crt",
    ):
        subprocess.run(["openssl", *arguments.split()], cwd=folder, check=True, capture_output=True)
    return Authority(folder / "ca.crt", folder / "server.crt", folder / "server.key")
