"""Objects under a prefix of an S3 bucket, by obstore.

Owns the connection's settings and the bucket's layout; what S3's error codes mean is in `s3_errors`.
"""

from collections.abc import AsyncIterator
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any

from obstore.exceptions import BaseError
from obstore.store import S3Store
from pagelet_api.config import S3FetchConfig
from pagelet_api.model_report import FailureReason

from pagelet_engine.fetcher.credentials import ACCESS_KEY, SECRET_KEY, Credentials
from pagelet_engine.fetcher.failure import FetchFailed, Interrupted
from pagelet_engine.fetcher.reachability import why_unreachable
from pagelet_engine.fetcher.s3_errors import s3_failure
from pagelet_engine.fetcher.source import Chunk, Listing, RemoteFile

if TYPE_CHECKING:
    from obstore import GetOptions  # not there at run time

_MOST_OBJECTS = 10_000
_AWS = "https://s3.{region}.amazonaws.com"
_CREDENTIALS_FIELD = "source.s3.credentialsSecretRef"


class S3:
    """Raises FetchFailed from every method; the first contact is `listing`."""

    piece_bytes = 16 << 20

    def __init__(self, config: S3FetchConfig, credentials: Credentials) -> None:
        self._config = config
        bucket, _, prefix = config.uri.removeprefix("s3://").partition("/")
        self._bucket, self._prefix = bucket, prefix.strip("/")
        region = config.region or "us-east-1"
        self._endpoint = config.endpoint.rstrip("/") or _AWS.format(region=region)
        self._certificates = credentials.certificates() if config.has_ca_bundle else ""
        client: dict[str, Any] = {
            "allow_http": self._endpoint.startswith("http://"),
            "connect_timeout": "10s",
            "read_timeout": "30s",
            "timeout": "10m",
        }
        if self._certificates:
            client["root_certificate"] = self._certificates
        self._settings: dict[str, Any] = {
            "region": region,
            "endpoint": self._endpoint if config.path_style else self._virtual_host(),
            "virtual_hosted_style_request": not config.path_style,
            "client_options": client,
            # Trying again is the transfer's, which knows for how long.
            "retry_config": {"max_retries": 0, "retry_timeout": timedelta(seconds=0)},
        }
        if config.signed:
            self._settings["access_key_id"] = credentials.secret(ACCESS_KEY, _CREDENTIALS_FIELD)
            self._settings["secret_access_key"] = credentials.secret(SECRET_KEY, _CREDENTIALS_FIELD)
        else:
            self._settings["skip_signature"] = True

    @property
    def name(self) -> str:
        return f"{self._config.uri} at {self._endpoint}"

    async def listing(self) -> Listing:
        files: dict[str, RemoteFile] = {}
        start = f"{self._prefix}/" if self._prefix else ""
        try:
            async for objects in self._store.list(prefix=self._prefix or None, chunk_size=1000):
                for each in objects:
                    path = each["path"].removeprefix(start)
                    files[path] = RemoteFile(path, each["size"], version=each["e_tag"] or "")
                if len(files) > _MOST_OBJECTS:
                    raise FetchFailed(
                        FailureReason.SOURCE_NOT_FOUND,
                        f"{self.name} holds more than {_MOST_OBJECTS} objects: name the model's own folder in uri",
                    )
        except BaseError as error:
            raise await self._failure(error) from None
        files = _without_folder_marks(files, self._prefix)
        if not files:
            raise FetchFailed(
                FailureReason.SOURCE_NOT_FOUND,
                f"{self.name} holds nothing: the bucket {self._bucket} is there, but no object begins with "
                f"{start!r}; correct uri, or put the model there",
            )
        return Listing(files)

    async def read(self, file: RemoteFile, start: int, end: int) -> AsyncIterator[Chunk]:
        key = f"{self._prefix}/{file.path}" if self._prefix else file.path
        options: GetOptions = {"range": (start, end)}
        if file.version:
            options["if_match"] = file.version
        try:
            answer = await self._store.get_async(key, options=options)
            data = memoryview(await answer.bytes_async())
        except (BaseError, FileNotFoundError, OSError) as error:
            raise await self._failure(error) from None
        if len(data) != end - start:
            raise Interrupted(
                FailureReason.SOURCE_UNREACHABLE,
                f"{self.name}: wanted bytes {start} to {end} of {file.path}, got {len(data)} bytes",
            )
        yield data

    @cached_property
    def _store(self) -> S3Store:
        return S3Store(self._bucket, **self._settings)

    def _virtual_host(self) -> str:
        scheme, _, host = self._endpoint.partition("://")
        return f"{scheme}://{self._bucket}.{host}"

    async def _failure(self, error: Exception) -> FetchFailed:
        found = s3_failure(str(error), self.name, self._bucket)
        return found or await why_unreachable(self._settings["endpoint"], self._certificates)


def _without_folder_marks(files: dict[str, RemoteFile], prefix: str) -> dict[str, RemoteFile]:
    """Without the empty objects that some programs put where they show a folder."""
    parents = {"/".join(path.split("/")[:n]) for path in files for n in range(1, path.count("/") + 1)}
    return {
        path: file
        for path, file in files.items()
        if not (file.num_bytes == 0 and (path in parents or path in ("", prefix)))
    }
