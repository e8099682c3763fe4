"""Nonsense at the HTTP edge: the right status, OpenAI's shape, a sentence that helps, and the next request works."""

import asyncio
from typing import Any

import httpx
import pytest
from pagelet_api.openai.bounds import MAX_BODY_BYTES

from .conftest import MODEL, Site

pytestmark = pytest.mark.asyncio(loop_scope="module")

CHAT = "/v1/chat/completions"
OPEN = '{"model": "test-model", "messages": [{"role": "user", "content": "Hi"}]'

BROKEN: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "the body is empty"),
    "blank": (b" \n ", "the body is empty"),
    "cut": (OPEN.encode(), "line 1, column"),
    "a second value": (OPEN.encode() + b"} {}", "Extra data"),
    "no object": (b"[1, 2]", "wanted an object, found a list of 2"),
    "a string": (b'"hello"', "wanted an object"),
    "NaN": (OPEN.encode() + b', "temperature": NaN}', "NaN is not JSON"),
    "Infinity": (OPEN.encode() + b', "temperature": -Infinity}', "-Infinity is not JSON"),
    "twice the same name": (OPEN.encode() + b', "n": 1, "n": 2}', "'n' appears twice"),
    "invalid UTF-8": (b'{"model": "\xff"}', "byte 11 is not UTF-8"),
    "UTF-16": ('{"model": "x"}'.encode("utf-16"), "is not UTF-8"),
    "half a surrogate pair": (b'{"model": "test-model", "prompt": "\\ud83c"}', "stands alone"),
    "nested lists": (b'{"model": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "nested too deeply"),
    "nested objects": (b'{"a": ' * 100_000 + b"1" + b"}" * 100_000, "nested too deeply"),
    "an endless number": (OPEN.encode() + b', "n": ' + b"9" * 10_000 + b"}", "digit"),
    "a control character": (b'{"model": "a\x00b"}', "control character"),
}


async def send(site: Site, body: bytes, path: str = CHAT, **options: Any) -> httpx.Response:
    headers = {"content-type": "application/json"}
    return await site.http.post(f"{site.url}{path}", content=body, headers=headers, **options)


def assert_error_shape(response: httpx.Response) -> dict[str, Any]:
    error = response.json()["error"]
    assert error.keys() == {"message", "type", "param", "code"}
    assert isinstance(error["message"], str)
    assert len(error["message"]) > 10
    return dict(error)


@pytest.mark.parametrize("path", [CHAT, "/v1/completions", "/tokenize", "/detokenize"])
async def test_a_body_that_is_no_json_object_is_refused_with_the_reason(site: Site, path: str) -> None:
    for name, (body, part) in BROKEN.items():
        response = await send(site, body, path)
        error = assert_error_shape(response)
        assert (response.status_code, error["code"]) == (400, "invalid_json"), (name, error)
        assert part in error["message"], (name, error)
    assert (await site.chat()).status_code == 200


async def test_a_number_beyond_floats_is_no_temperature(site: Site) -> None:
    response = await send(site, OPEN.encode() + b', "temperature": 1e999}')
    assert (response.status_code, assert_error_shape(response)["param"]) == (400, "temperature")


async def test_a_surrogate_pair_is_one_character(site: Site) -> None:
    response = await send(
        site, b'{"model": "test-model", "max_tokens": 1, "prompt": "\\ud83c\\udf89"}', "/v1/completions"
    )
    assert response.status_code == 200


async def test_a_body_beyond_the_limit_is_413_whether_its_size_is_stated_or_not(site: Site) -> None:
    large = b'{"model": "test-model", "prompt": "' + b"x" * 10_000_000 + b'"}'

    async def pieces() -> Any:
        for start in range(0, len(large), 100_000):
            yield large[start : start + 100_000]

    for content in (large, pieces()):
        response = await site.http.post(f"{site.url}/v1/completions", content=content)
        error = assert_error_shape(response)
        assert (response.status_code, error["code"]) == (413, "body_too_large")
        assert str(MAX_BODY_BYTES) in error["message"]
    assert (await site.chat()).status_code == 200


async def test_a_large_body_that_asks_first_is_refused_before_it_is_sent(site: Site) -> None:
    host, port = site.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(f"POST {CHAT} HTTP/1.1\r\nhost: x\r\ncontent-length: {10**9}\r\nexpect: 100-continue\r\n\r\n".encode())
    assert (await reader.readline()).startswith(b"HTTP/1.1 413")
    writer.close()
    await writer.wait_closed()


async def test_a_compressed_body_is_refused(site: Site) -> None:
    response = await site.http.post(f"{site.url}{CHAT}", content=b"x", headers={"content-encoding": "gzip"})
    assert (response.status_code, assert_error_shape(response)["code"]) == (400, "invalid_encoding")


async def test_a_client_that_leaves_in_the_middle_of_its_body_harms_nobody(site: Site) -> None:
    host, port = site.url.removeprefix("http://").split(":")
    _, writer = await asyncio.open_connection(host, int(port))
    writer.write(f"POST {CHAT} HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{{".encode())
    await writer.drain()
    writer.close()
    await writer.wait_closed()
    assert (await site.chat()).status_code == 200


async def test_something_that_is_not_http_is_answered_and_closed(site: Site) -> None:
    host, port = site.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 not http at all\r\n\r\n")
    assert (await reader.readline()).startswith(b"HTTP/1.1 400")
    writer.close()
    assert (await site.chat()).status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/v2/chat", 404, "unknown_url"),
        ("POST", "/v1/embeddings", 404, "unknown_url"),
        ("GET", CHAT, 405, "method_not_allowed"),
        ("DELETE", "/v1/models", 405, "method_not_allowed"),
        ("GET", "/v1/models/none/such", 404, "model_not_found"),
        ("GET", "/" + "x" * 10_000, 404, "unknown_url"),
    ],
)
async def test_wrong_paths_and_methods_have_the_same_error_shape(
    site: Site, method: str, path: str, status: int, code: str
) -> None:
    response = await site.http.request(method, f"{site.url}{path}")
    error = assert_error_shape(response)
    assert (response.status_code, error["code"]) == (status, code)
    assert len(error["message"]) < 400


async def test_unknown_paths_make_no_new_metric(site: Site) -> None:
    for number in range(3):
        await site.http.get(f"{site.url}/secret-{number}")
    text = (await site.http.get(f"{site.url}/metrics")).text
    assert "secret" not in text
    assert 'pagelet:gateway_requests_total{code="404",route="unknown"}' in text


async def test_a_missing_field_is_named(site: Site) -> None:
    for path, body, param in (
        (CHAT, {"messages": [{"role": "user", "content": "Hi"}]}, "model"),
        (CHAT, {"model": MODEL}, "messages"),
        ("/v1/completions", {"model": MODEL}, "prompt"),
        ("/tokenize", {}, "prompt"),
        ("/detokenize", {}, "tokens"),
    ):
        response = await site.post(path, body)
        error = assert_error_shape(response)
        assert (response.status_code, error["param"]) == (400, param)
        assert error["code"] == "missing_required_parameter"


async def test_a_deep_value_in_a_free_field_reaches_no_recursion(site: Site) -> None:
    deep: Any = "x"
    for _ in range(200):
        deep = {"x": deep}
    response = await site.chat(chat_template_kwargs={"deep": deep})
    assert response.status_code == 200
