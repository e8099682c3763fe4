"""Tokens in the lean form: answers are the same, byte for byte, as from an engine that does not know it."""

import re
from typing import Any

import pytest

from .conftest import Site

pytestmark = pytest.mark.asyncio(loop_scope="module")

SHAPES: list[dict[str, Any]] = [
    {},
    {"stream_options": {"include_usage": True}},
    {"n": 3},
    {"n": 2, "logprobs": True},
    {"logprobs": True, "top_logprobs": 2},
    {"stop": ["two"]},
    {"stop": "e", "include_stop_str_in_output": True},
    {"max_tokens": 1},
    {"max_tokens": 2},
    {"ignore_eos": True, "skip_special_tokens": False, "max_tokens": 60},
    {"min_tokens": 5},
    {"stream": False, "n": 2},
]


def without_names(text: str) -> str:
    """Less what differs between any two answers."""
    return re.sub(r'"(id|created)": ?("[^"]*"|\d+)', "", text)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
async def test_a_chat_is_the_same_in_either_form(site: Site, shape: dict[str, Any]) -> None:
    lean = await site.chat(**{"stream": True, **shape})
    site.engine.speaks_leanly = False
    general = await site.chat(**{"stream": True, **shape})
    assert lean.status_code == 200
    assert without_names(lean.text) == without_names(general.text)


@pytest.mark.parametrize("shape", [{}, {"echo": True}, {"n": 2}, {"logprobs": 1}, {"prompt": ["a", "b"]}], ids=str)
async def test_a_completion_is_the_same_in_either_form(site: Site, shape: dict[str, Any]) -> None:
    lean = await site.complete(**{"stream": True, **shape})
    site.engine.speaks_leanly = False
    general = await site.complete(**{"stream": True, **shape})
    assert lean.status_code == 200
    assert sorted(without_names(lean.text).split("\n\n")) == sorted(without_names(general.text).split("\n\n"))


async def test_both_forms_are_counted_alike(site: Site) -> None:
    async def counted() -> float:
        text = (await site.http.get(f"{site.ops_url}/metrics")).text
        found = re.search(r"^pagelet:gateway_generation_tokens_total\S* (\S+)$", text, re.MULTILINE)
        return float(found[1]) if found else 0.0

    before = await counted()
    await site.chat(stream=True, n=2, ignore_eos=True, max_tokens=30)
    lean = await counted()
    site.engine.speaks_leanly = False
    await site.chat(stream=True, n=2, ignore_eos=True, max_tokens=30)
    assert lean - before == await counted() - lean == 60
