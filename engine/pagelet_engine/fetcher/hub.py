"""A repository of a Hugging Face hub, or of a mirror that speaks its HTTP API, by aiohttp.

    GET {endpoint}/api/models/{repo}/revision/{revision}?blobs=true   the commit and its files
    GET {endpoint}/{repo}/resolve/{commit}/{path}                      a file; redirects to where it is stored

Documentation: https://huggingface.co/docs/hub/api. The token goes to the endpoint's own host and to no other.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import quote, urlsplit

import aiohttp
from pagelet_api.config import HuggingFaceFetchConfig
from pagelet_api.model_report import FailureReason

from pagelet_engine.fetcher.credentials import TOKEN, Credentials
from pagelet_engine.fetcher.failure import FetchFailed, Interrupted
from pagelet_engine.fetcher.hub_errors import hub_failure
from pagelet_engine.fetcher.reachability import trust, why_unreachable
from pagelet_engine.fetcher.source import Chunk, Listing, RemoteFile

_HUB = "https://huggingface.co"
_CHUNK_BYTES = 1 << 20
_BROKEN = (aiohttp.ClientError, TimeoutError, OSError)


class Hub:
    """Raises FetchFailed from every method; the first contact is `listing`."""

    # Each request passes the hub, which counts them, before it reaches the storage behind.
    piece_bytes = 256 << 20

    def __init__(self, config: HuggingFaceFetchConfig, token: str, session: aiohttp.ClientSession) -> None:
        self._config, self._session, self._has_token = config, session, bool(token)
        self._endpoint = config.endpoint.rstrip("/") or _HUB
        self._commit = config.revision
        # Lengths must be those of the file.
        self._headers = {"Accept-Encoding": "identity"} | ({"Authorization": f"Bearer {token}"} if token else {})

    @property
    def name(self) -> str:
        return f"{self._config.repo}@{self._config.revision} at {self._endpoint}"

    async def listing(self) -> Listing:
        repo, revision = quote(self._config.repo), quote(self._config.revision, safe="")
        url = f"{self._endpoint}/api/models/{repo}/revision/{revision}?blobs=true"
        async with self._get(url) as answer:
            try:
                about = await answer.json(content_type=None)
                self._commit = str(about["sha"])
                files = [_listed(sibling) for sibling in about["siblings"]]
            except (ValueError, KeyError, TypeError) as error:
                raise FetchFailed(
                    FailureReason.SOURCE_UNREACHABLE,
                    f"{self.name}: the answer is not that of a Hugging Face hub; correct endpoint",
                ) from error
        return Listing({file.path: await self._sized(file) for file in files}, self._commit)

    async def read(self, file: RemoteFile, start: int, end: int) -> AsyncIterator[Chunk]:
        async with self._get(self._url(file), {"Range": f"bytes={start}-{end - 1}"}) as answer:
            # A server that knows no ranges sends the whole file.
            skip, left = (start if answer.status == 200 else 0), end - start
            async for data in answer.content.iter_chunked(_CHUNK_BYTES):
                chunk = memoryview(data)[skip:][:left]
                skip = max(0, skip - len(data))
                left -= len(chunk)
                if chunk:
                    yield chunk
                if not left:
                    return
        raise Interrupted(FailureReason.SOURCE_UNREACHABLE, f"{self.name}: {file.path} ended {left} bytes early")

    async def _sized(self, file: RemoteFile) -> RemoteFile:
        """With its size, for mirrors whose listing has names alone."""
        if file.num_bytes >= 0:
            return file
        async with self._get(self._url(file), {"Range": "bytes=0-0"}) as answer:
            _, _, total = answer.headers.get("Content-Range", "").partition("/")
            size = int(total) if total.isdecimal() else answer.content_length or 0
        return RemoteFile(file.path, 0 if answer.status == 416 else size, file.sha256)

    def _url(self, file: RemoteFile) -> str:
        return f"{self._endpoint}/{quote(self._config.repo)}/resolve/{quote(self._commit, safe='')}/{quote(file.path)}"

    @asynccontextmanager
    async def _get(self, url: str, headers: dict[str, str] | None = None) -> AsyncIterator[aiohttp.ClientResponse]:
        try:
            async with self._session.get(url, headers=self._headers | (headers or {})) as answer:
                if answer.status >= 300 and answer.status != 416:
                    code = answer.headers.get("X-Error-Code", "")
                    is_hub = not answer.history or answer.history[0].url.origin() == answer.url.origin()
                    raise hub_failure(answer.status, code if is_hub else "storage", self.name, self._has_token)
                yield answer
        except _BROKEN as error:
            raise await self._broken(error) from None

    async def _broken(self, error: Exception) -> FetchFailed:
        if isinstance(error, aiohttp.TooManyRedirects):
            return FetchFailed(
                FailureReason.SOURCE_UNREACHABLE, f"{self.name}: redirected in a circle; correct endpoint"
            )
        host, port = getattr(error, "host", ""), getattr(error, "port", None)
        if host and host != urlsplit(self._endpoint).hostname:  # the storage that the hub redirected to
            return await why_unreachable(f"https://{host}:{port or 443}")
        return await why_unreachable(self._endpoint)


def _listed(sibling: dict[str, Any]) -> RemoteFile:
    size, lfs = sibling.get("size"), sibling.get("lfs") or {}
    return RemoteFile(str(sibling["rfilename"]), -1 if size is None else int(size), str(lfs.get("sha256") or ""))


@asynccontextmanager
async def open_hub(config: HuggingFaceFetchConfig, credentials: Credentials) -> AsyncIterator[Hub]:
    token = credentials.secret(TOKEN, "source.huggingFace.tokenSecretRef") if config.has_token else ""
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=30)
    connector = aiohttp.TCPConnector(ssl=trust())
    async with aiohttp.ClientSession(connector=connector, timeout=timeout, trust_env=True) as session:
        yield Hub(config, token, session)
