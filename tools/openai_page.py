"""`docs/openai-api.md`: what becomes of every field of OpenAI's API, from the tables that the gateway itself reads."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence

from pagelet_api.openai import bounds
from pagelet_api.openai.bodies import ChatRequest, CompletionRequest
from pagelet_api.openai.fates import ACTED_ON, CHAT_REFUSED, COMPLETION_REFUSED, IGNORED, Refusal

HEAD = f"""\
# OpenAI's API

Generated from the tables in `engine/pagelet_api/openai` by `make generate`. Do not edit.

| route | what |
|---|---|
| `POST /v1/chat/completions` | streamed or whole |
| `POST /v1/completions` | streamed or whole |
| `GET /v1/models`, `GET /v1/models/{{name}}` | the served name and its aliases |
| `POST /tokenize`, `POST /detokenize` | in vLLM's shapes |
| `GET /version` | Pagelet's |
| `GET /health`, `/ready`, `/metrics` | also on the ops port |

Each field is *acted on*, *ignored* (and counted in `pagelet:gateway_ignored_fields_total`), or *refused* with a
sentence, because ignoring it would give another answer than the one asked for. A field that is in none of these tables
is refused, too: a misspelt name does not pass in silence. Null means the default. A body has at most
{bounds.MAX_BODY_BYTES // 2**20} MiB of strict JSON: UTF-8, no NaN, no name twice in one object.
"""

ERRORS = """
## Errors

Always `{"error": {"message", "type", "param", "code"}}`; in a stream that has begun, as an event before `[DONE]`.

| status | code | when |
|---|---|---|
| 400 | `invalid_json`, `invalid_type`, `invalid_value`, `missing_required_parameter` | `param` says where |
| 400 | `unsupported_parameter`, `unknown_parameter` | see above |
| 400 | `context_length_exceeded` | with the numbers |
| 400 | `chat_template_error`, `no_chat_template` | with the template's own sentence |
| 400 | `invalid_http` | no HTTP/1.1 that can be read in one way only |
| 404 | `model_not_found`, `unknown_url` | |
| 405 | `method_not_allowed` | |
| 408 | `body_timeout`, `head_timeout` | the body or the head did not arrive in time |
| 413 | `body_too_large`, `chunks_too_small` | |
| 414, 431 | `url_too_long`, `headers_too_large` | the URL or the head is too large; with the bound |
| 417, 501, 505 | `expectation_failed`, `transfer_encoding_not_supported`, `http_version_not_supported` | |
| 429 | `queue_full` | every engine's queue is full; `Retry-After` |
| 500 | `internal_error` | our fault; it is logged |
| 503 | `engine_unavailable`, `gateway_stopping` | not the request's fault; `Retry-After`; [why](failures.md) |
| 503 | `too_many_connections`, `too_many_connections_of_address`, `too_many_bytes_held` | idle ones \
made room first; `Retry-After` |
| 504 | `request_timeout` | the answer took longer than `requestTimeout`; clients are told not to repeat it |
"""


def openai_page() -> str:
    """The page's text."""
    routes = [("chat", ChatRequest.model_fields.keys()), ("completions", CompletionRequest.model_fields.keys())]
    acted = ([code(name), of(name, routes), text] for name, text in ACTED_ON.items())
    ignored = ([code(name), text] for name, text in IGNORED.items())
    refusals = {**COMPLETION_REFUSED, **CHAT_REFUSED}
    refused = (
        [code(name), of(name, [("chat", CHAT_REFUSED), ("completions", COMPLETION_REFUSED)]), *shown(refusal)]
        for name, refusal in sorted(refusals.items())
    )
    lines = [
        *section("Acted on", ["field", "in", "what it does"], acted),
        *section("Ignored", ["field", "because"], ignored),
        *section("Refused", ["field", "in", "because", "accepted, besides null"], refused),
    ]
    return HEAD + "\n".join(lines) + "\n" + ERRORS


def section(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield from ("", f"## {title}", "", row(columns), row(["---"] * len(columns)))
    yield from map(row, rows)


def row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def code(name: str) -> str:
    return f"`{name}`"


def of(name: str, routes: Iterable[tuple[str, Iterable[str] | Mapping[str, Refusal]]]) -> str:
    return ", ".join(route for route, names in routes if name in names)


def shown(refusal: Refusal) -> tuple[str, str]:
    return refusal.sentence, ", ".join(code(json.dumps(value)) for value in refusal.neutral)
