"""A Hugging Face hub on the loopback: its HTTP API, and on a port of its own the storage that it redirects to."""

import hashlib
import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import unquote, urlsplit

REPO, COMMIT = "team/tiny", "0123456789abcdef0123456789abcdef01234567"


@dataclass(frozen=True)
class Request:
    server: str
    """ "hub" or "storage"."""
    path: str
    authorization: str | None
    range: str | None


@dataclass
class FakeHub:
    """Fields may be changed while it runs."""

    folder: Path = Path("nowhere")
    """What the repository holds."""
    token: str = ""
    """The one that is wanted; empty: none."""
    gated: bool = False
    states_sizes: bool = True
    knows_ranges: bool = True
    drops: dict[str, list[int]] = field(default_factory=dict)
    """Of a file: after how many bytes the first, second, … answer breaks off."""
    errors: list[int] = field(default_factory=list)
    """Statuses of the next answers, before all is well again."""
    blocked: set[str] = field(default_factory=set)
    """Files whose answers stop in the middle, until `unblock`."""
    requests: list[Request] = field(default_factory=list)
    renamed: dict[str, str] = field(default_factory=dict)
    """What the listing calls a file."""

    def __enter__(self) -> Self:
        self.arrived, self._go_on = threading.Event(), threading.Event()
        self._servers = [_server(self, "hub"), _server(self, "storage")]
        self.endpoint, self.storage_endpoint = (f"http://127.0.0.1:{server.server_port}" for server in self._servers)
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._go_on.set()
        for server in self._servers:
            server.shutdown()
            server.server_close()

    def source(self, **changes: Any) -> dict[str, Any]:
        return {"huggingFace": {"repo": REPO, "endpoint": self.endpoint, **changes}}

    def fetched(self) -> list[str]:
        """Names of the files asked of the storage."""
        return sorted({request.path.rpartition("/")[2] for request in self.requests if request.server == "storage"})

    def listing(self) -> dict[str, Any]:
        siblings: list[dict[str, Any]] = []
        for path in sorted(path for path in self.folder.rglob("*") if path.is_file()):
            name = path.relative_to(self.folder).as_posix()
            about: dict[str, Any] = {"rfilename": self.renamed.get(name, name)}
            if self.states_sizes:
                about["size"] = path.stat().st_size
                if path.suffix == ".safetensors":
                    about["lfs"] = {"sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
            siblings.append(about)
        return {"sha": COMMIT, "siblings": siblings}

    def go_on(self) -> None:
        self._go_on.set()

    def wait_for_go_on(self) -> None:
        self.arrived.set()
        self._go_on.wait(60)


def _server(hub: FakeHub, role: str) -> ThreadingHTTPServer:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            path, headers = unquote(urlsplit(self.path).path), self.headers
            hub.requests.append(Request(role, path, headers["Authorization"], headers["Range"]))
            if hub.errors:
                self._answer(hub.errors.pop(0), {}, b"")
            elif role == "storage":
                self._file(hub.folder / path.removeprefix("/stored/"))
            else:
                self._hub(path)

        def _hub(self, path: str) -> None:
            api = f"/api/models/{REPO}/revision/"
            resolve = f"/{REPO}/resolve/{COMMIT}/"
            if hub.token and self.headers["Authorization"] != f"Bearer {hub.token}":
                self._answer(401, {} if self.headers["Authorization"] else {"X-Error-Code": "RepoNotFound"}, b"{}")
            elif hub.gated:
                self._answer(403, {"X-Error-Code": "GatedRepo"}, b"{}")
            elif path.startswith(api) and path.removeprefix(api) in ("main", "feature/x", COMMIT):
                self._answer(200, {}, json.dumps(hub.listing()).encode())
            elif path.startswith(api):
                self._answer(404, {"X-Error-Code": "RevisionNotFound"}, b"{}")
            elif path.startswith(resolve) and (hub.folder / path.removeprefix(resolve)).is_file():
                where = f"{hub.storage_endpoint}/stored/{path.removeprefix(resolve)}?signature=x"
                self._answer(302, {"Location": where}, b"")
            else:
                self._answer(404, {"X-Error-Code": "RepoNotFound"}, b"{}")

        def _file(self, file: Path) -> None:
            data, wanted = file.read_bytes(), self.headers["Range"]
            status, headers = 200, {}
            if wanted and hub.knows_ranges:
                first, _, last = wanted.removeprefix("bytes=").partition("-")
                headers["Content-Range"] = f"bytes {first}-{last}/{len(data)}"
                status, data = 206, data[int(first) : int(last) + 1]
            drops = hub.drops.get(file.name)
            if drops or file.name in hub.blocked:
                length = drops.pop(0) if drops else len(data) // 2
                self._head(status, headers | {"Content-Length": str(len(data))})
                self.wfile.write(data[:length])
                self.wfile.flush()
                if not drops and file.name in hub.blocked:
                    hub.wait_for_go_on()
                self.close_connection = True
                return
            self._answer(status, headers, data)

        def _answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
            self._head(status, headers | {"Content-Length": str(len(body))})
            self.wfile.write(body)

        def _head(self, status: int, headers: dict[str, str]) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server
