"""The bytes of an answer to what never became a request: OpenAI's error shape, and the end of the connection."""

import json
from email.utils import formatdate
from http import HTTPStatus

from pagelet_api.openai.errors import OpenAIError


def refusal(error: OpenAIError) -> bytes:
    body = json.dumps(error.body()).encode()
    headers = {
        "content-type": "application/json",
        "content-length": str(len(body)),
        "date": formatdate(usegmt=True),
        **error.headers(),
        "connection": "close",
    }
    lines = [f"HTTP/1.1 {error.status} {HTTPStatus(error.status).phrase}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body
