"""Nonsense at the door: the right refusal with a sentence, and the next good request works."""

import json
from typing import Any

import httpx
import pytest

from .answers import MODEL
from .endpoint import Endpoint

GOOD: dict[str, Any] = {"model": MODEL, "prompt": "1 2 3", "max_tokens": 2, "temperature": 0}

NONSENSE = {
    "broken JSON": (b'{"model": ', 400),
    "not an object": (b"[1, 2]", 400),
    "invalid UTF-8": (b'{"model": "smollm2", "prompt": "\xff\xfe"}', 400),
    "NaN": (b'{"model": "smollm2", "prompt": "a", "temperature": NaN}', 400),
    "deep nesting": (b'{"prompt": ' + b"[" * 100_000, 400),
    "wrong type": (json.dumps(GOOD | {"max_tokens": "many"}).encode(), 400),
    "unknown field": (json.dumps(GOOD | {"temprature": 1}).encode(), 400),
    "negative temperature": (json.dumps(GOOD | {"temperature": -1}).encode(), 400),
    "a milliard samples": (json.dumps(GOOD | {"n": 10**9}).encode(), 400),
    "a million stop strings": (json.dumps(GOOD | {"stop": ["x"] * 10**6}).encode(), 400),
    "a token beyond the vocabulary": (json.dumps(GOOD | {"prompt": [10**7]}).encode(), 400),
    "an empty prompt": (json.dumps(GOOD | {"prompt": []}).encode(), 400),
    "a prompt beyond the context": (json.dumps(GOOD | {"prompt": "word " * 20_000}).encode(), 400),
    "ten megabytes": (json.dumps(GOOD | {"prompt": "x" * 10**7}).encode(), 413),
    "another model": (json.dumps(GOOD | {"model": "gpt-9"}).encode(), 404),
}


@pytest.mark.parametrize("name", NONSENSE)
def test_nonsense_is_refused_with_a_sentence_and_the_next_request_works(service: Endpoint, name: str) -> None:
    body, status = NONSENSE[name]
    with httpx.Client(base_url=service.url, timeout=60) as client:
        refused = client.post("/v1/completions", content=body, headers={"content-type": "application/json"})
        assert refused.status_code == status, refused.text[:300]
        error = refused.json()["error"]
        assert len(error["message"]) > 10
        assert error["type"]
        good = client.post("/v1/completions", json=GOOD)
        assert good.status_code == 200, good.text[:300]
        assert good.json()["usage"]["completion_tokens"] == 2
