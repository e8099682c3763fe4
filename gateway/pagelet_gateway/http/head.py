"""Request heads: taken off received bytes, within bounds, and judged by RFC 9112's rules for servers.

httptools (llhttp) parses, one head at a time and never more than a bounded one: it has no limits itself, and joins the
pieces of a long line again for every piece. Bodies are not its concern, so an `Upgrade` that it would stop at is only a
header. Knows no connection and no time.
"""

import re
from dataclasses import dataclass
from typing import Literal

import httptools
from pagelet_api.openai.errors import OpenAIError, invalid

from pagelet_gateway.http.limits import MessageLimits

_END = b"\r\n\r\n"
_BEGUN_LINE = re.compile(rb"[ -~]*\r?")
_REQUEST_LINE = re.compile(rb"[A-Z-]+ ([!-~]+) HTTP/(\d\.\d)\r\n")
_BARE_LF = re.compile(rb"(?<!\r)\n")
_ORIGIN_FORM = re.compile(rb"/[!-~]*")
_ABSOLUTE_FORM = re.compile(rb"https?://[^/?#]+([/?][!-~]*)?", re.IGNORECASE)
_HOST = re.compile(rb"([A-Za-z0-9._~!$&'()*+,;=%-]*|\[[0-9A-Fa-f:.]+\])(:\d{0,5})?")
_LENGTH = re.compile(rb"\d{1,18}")
_REFUSED_METHODS = (b"CONNECT", b"TRACE")

CHUNKED: Literal["chunked"] = "chunked"
Framing = int | Literal["chunked"]
"""How a body is delimited: by its length (0: there is none), or by chunks."""


@dataclass(frozen=True, slots=True)
class Head:
    method: str
    path: bytes
    query: bytes
    version: Literal["1.0", "1.1"]
    headers: list[tuple[bytes, bytes]]
    """Names in lower case, as ASGI has them."""
    framing: Framing
    keep_alive: bool
    expects_continue: bool


class HeadReader:
    """Of one connection."""

    def __init__(self, limits: MessageLimits) -> None:
        self._limits = limits
        self._searched = 0
        self._blank_bytes = 0

    def take(self, buffer: bytearray) -> Head | None:
        """Take a head off the front of the buffer; None while it is not whole. Raises OpenAIError."""
        self._skip_blank_lines(buffer)
        end = buffer.find(_END, max(0, self._searched - len(_END) + 1), self._limits.head_bytes)
        if end < 0:
            self._check_begun(buffer)
            self._searched = len(buffer)
            return None
        end += len(_END)
        raw = bytes(buffer[:end])
        del buffer[:end]
        self._searched = self._blank_bytes = 0
        return parse_head(raw, self._limits)

    def _skip_blank_lines(self, buffer: bytearray) -> None:
        while buffer.startswith(b"\r\n"):
            del buffer[:2]
            self._blank_bytes += 2
            self._searched = 0
        if self._blank_bytes > self._limits.blank_bytes:
            raise _malformed("empty lines instead of a request")

    def _check_begun(self, buffer: bytearray) -> None:
        """Refuse what cannot become a head as soon as that is seen."""
        line_end = buffer.find(b"\n", 0, self._limits.head_bytes)
        if line_end < 0:
            if not _BEGUN_LINE.fullmatch(buffer):
                raise _malformed("bytes that begin no request line; HTTPS is spoken by a proxy before this port")
            if len(buffer) > self._limits.target_bytes + 64:
                raise _target_too_long(self._limits, "at least", len(buffer))
        elif line_end >= self._searched:
            _check_request_line(bytes(buffer[: line_end + 1]), self._limits)
        if _BARE_LF.search(buffer, self._searched):
            raise _malformed("a line that ends without a carriage return")
        if len(buffer) >= self._limits.head_bytes:
            raise _too_large(f"a head of at least {len(buffer)} bytes", f"{self._limits.head_bytes} bytes")


def parse_head(raw: bytes, limits: MessageLimits) -> Head:
    """The request that the bytes up to and including the empty line announce. Raises OpenAIError."""
    target, version = _check_request_line(raw[: raw.find(b"\n") + 1], limits)
    found = _Found()
    parser = httptools.HttpRequestParser(found)
    found.parser = parser
    try:
        parser.feed_data(raw)
    except httptools.HttpParserUpgrade:
        pass  # the head is read, and no upgrade follows
    except httptools.HttpParserError as error:
        raise _malformed(str(error)[:200]) from error
    if found.begun != 1 or not found.complete or found.has_body:
        raise _malformed("a head whose end is unclear")
    method = parser.get_method()
    if method in _REFUSED_METHODS:
        raise OpenAIError(405, f"{method.decode()} is not taken here; use GET or POST.", code="method_not_allowed")
    path, query = _split(target, method)
    host, length, coding, expect = _meaningful(found.headers, limits)
    _check_host(host, version)
    return Head(
        method.decode("ascii"),
        path,
        query,
        version,
        found.headers,
        _framing(length, coding, version),
        found.keep_alive and version == "1.1",
        _expects_continue(expect, version),
    )


class _Found:
    """What httptools reports."""

    parser: httptools.HttpRequestParser

    def __init__(self) -> None:
        self.headers: list[tuple[bytes, bytes]] = []
        self.begun = 0
        self.complete = False
        self.keep_alive = False
        self.has_body = False

    def on_message_begin(self) -> None:
        self.begun += 1

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.lower(), value.rstrip(b" \t")))

    def on_headers_complete(self) -> None:
        self.complete = True
        self.keep_alive = self.parser.should_keep_alive()

    def on_body(self, body: bytes) -> None:
        self.has_body = True


def _check_request_line(line: bytes, limits: MessageLimits) -> tuple[bytes, Literal["1.0", "1.1"]]:
    """Returns target and version."""
    matched = _REQUEST_LINE.fullmatch(line)
    if not matched:
        raise _malformed(f"the request line {line[:100]!r}; wanted is 'METHOD /path HTTP/1.1'")
    target, version = matched[1], matched[2]
    if len(target) > limits.target_bytes:
        raise _target_too_long(limits, "", len(target))
    if version == b"1.1":
        return target, "1.1"
    if version == b"1.0":
        return target, "1.0"
    raise OpenAIError(
        505, f"HTTP/{version.decode()} is not spoken on this port; use HTTP/1.1.", code="http_version_not_supported"
    )


def _split(target: bytes, method: bytes) -> tuple[bytes, bytes]:
    """Path and query."""
    if absolute := _ABSOLUTE_FORM.fullmatch(target):
        target = absolute[1] or b"/"
        if target.startswith(b"?"):
            target = b"/" + target
    elif target == b"*" and method == b"OPTIONS":
        return target, b""
    elif not _ORIGIN_FORM.fullmatch(target):
        raise _malformed(f"the target {target[:100]!r}; wanted is a path, such as /v1/models")
    path, _, query = target.partition(b"#")[0].partition(b"?")
    return path, query


def _meaningful(
    headers: list[tuple[bytes, bytes]], limits: MessageLimits
) -> tuple[list[bytes], list[bytes], list[bytes], list[bytes]]:
    """The values of host, content-length, transfer-encoding and expect."""
    if len(headers) > limits.headers:
        raise _too_large(f"{len(headers)} headers", str(limits.headers))
    values: dict[bytes, list[bytes]] = {
        b"host": [],
        b"content-length": [],
        b"transfer-encoding": [],
        b"expect": [],
    }
    for name, value in headers:
        if len(name) + len(value) > limits.header_bytes:
            shown = name[:40].decode("ascii")
            raise _too_large(f"the header {shown} of {len(name) + len(value)} bytes", f"{limits.header_bytes} bytes")
        if name in values:
            values[name].append(value)
    host, length, coding, expect = values.values()
    return host, length, coding, expect


def _check_host(values: list[bytes], version: str) -> None:
    if len(values) > 1 or (not values and version == "1.1"):
        raise _malformed(f"{len(values)} Host headers; wanted is one")
    if values and not _HOST.fullmatch(values[0]):
        raise _malformed(f"the Host {values[0][:100]!r}; wanted is a name or an address, and perhaps a port")


def _framing(lengths: list[bytes], codings: list[bytes], version: str) -> Framing:
    if codings:
        if lengths or version == "1.0":
            raise _malformed(
                "a Transfer-Encoding beside a Content-Length or in HTTP/1.0; send one of them, by HTTP/1.1"
            )
        if len(codings) > 1 or codings[0].lower() != b"chunked":
            shown = b", ".join(codings)[:100]
            raise OpenAIError(
                501,
                f"Transfer-Encoding: found is {shown!r}; only 'chunked' is taken. Send the body uncompressed.",
                code="transfer_encoding_not_supported",
            )
        return CHUNKED
    if not lengths:
        return 0
    if len(lengths) > 1 or not _LENGTH.fullmatch(lengths[0]):
        raise _malformed(f"the Content-Length {b', '.join(lengths)[:100]!r}; wanted is one number")
    return int(lengths[0])


def _expects_continue(values: list[bytes], version: str) -> bool:
    if not values or version == "1.0":
        return False
    if any(value.lower() != b"100-continue" for value in values):
        raise OpenAIError(417, "Expect: only '100-continue' is understood.", code="expectation_failed")
    return True


def _malformed(found: str) -> OpenAIError:
    return invalid(f"This is no HTTP/1.1 request that can be read safely: found {found}.", code="invalid_http")


def _too_large(found: str, most: str) -> OpenAIError:
    return OpenAIError(
        431, f"The request's head is too large: found {found}, at most {most} are taken.", code="headers_too_large"
    )


def _target_too_long(limits: MessageLimits, bound: str, found_bytes: int) -> OpenAIError:
    return OpenAIError(
        414,
        f"The URL is too long: at most {limits.target_bytes} bytes are taken, found {bound} {found_bytes}. "
        "Send long input in the body.".replace("  ", " "),
        code="url_too_long",
    )
