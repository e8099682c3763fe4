"""The bounds of a request, checked once, in the front, against what GetModelInfo promises every client.

Pure. What passes here is safe to hand to the core; how full the engine is, and whether a request fits its memory, only
the core can say.
"""

import math

from pagelet_api import inference_pb2 as pb

LIMITS = pb.RequestLimits(max_n=128, max_logprobs=20, max_stop_token_ids=64, max_logit_bias=1024)
"""What one request may ask for; the queue's bound is the configuration's."""

MAX_PROMPT_ITEMS = 1024
"""Pieces of one prompt: every one is looked at here, and costs a message of its own."""

MAX_REQUEST_ID_CHARACTERS = 128
MAX_NAME_CHARACTERS = 256
MAX_BIAS = 100.0
MAX_PENALTY = 2.0
MIN_REPETITION_PENALTY = 0.01  # logits are divided by it: much less, and they overflow
MAX_REPETITION_PENALTY = 10.0
MAX_TEMPERATURE = 100.0
MAX_PROMPT_LOGPROBS = 4 * 2**20
"""Log probabilities of one prompt, alternatives counted: they leave the core in one message, of some 9 bytes each."""
MAX_DEADLINE_MS = 7 * 24 * 3600 * 1000


class InvalidRequest(Exception):
    """A request that no state of the engine could serve; the message says what was wanted and what was found."""


def check_request(request: pb.GenerateRequest, model: pb.ModelInfo) -> None:
    """Raise InvalidRequest at the first field out of bounds."""
    _check_names(request)
    prompt_tokens = _check_prompt(request, model)
    sampling = request.sampling
    _check_lengths(sampling, prompt_tokens, model)
    _check_numbers(sampling)
    _check_counts(sampling, model.limits)
    _check_prompt_logprobs(sampling, prompt_tokens)
    _check_tokens(sampling, model)


def check_abort(abort: pb.Abort, limits: pb.RequestLimits) -> None:
    """Raise InvalidRequest when it names more samples than a request can have."""
    if len(abort.samples) > limits.max_n:
        raise InvalidRequest(
            f"abort must name at most {limits.max_n} samples, as many as a request has, found {len(abort.samples)}"
        )


def prompt_length(request: pb.GenerateRequest) -> int:
    """Tokens of the prompt, all items together."""
    return sum(len(item.token_ids.ids) for item in request.prompt)


def _check_names(request: pb.GenerateRequest) -> None:
    length = len(request.request_id)
    if not 1 <= length <= MAX_REQUEST_ID_CHARACTERS:
        raise InvalidRequest(f"request_id must have 1 to {MAX_REQUEST_ID_CHARACTERS} characters, found {length}")
    if not request.request_id.isprintable():
        raise InvalidRequest(f"request_id must be printable characters, found {request.request_id!r}")
    for name, value in (("tenant", request.tenant), ("cache_salt", request.cache_salt)):
        if len(value) > MAX_NAME_CHARACTERS:
            raise InvalidRequest(f"{name} must have at most {MAX_NAME_CHARACTERS} characters, found {len(value)}")
    if request.adapter:
        raise InvalidRequest(f"adapter {request.adapter[:80]!r} is unknown: adapters are not built yet")
    if request.HasField("deadline_ms") and not 1 <= request.deadline_ms <= MAX_DEADLINE_MS:
        raise InvalidRequest(f"deadline_ms must be 1 to {MAX_DEADLINE_MS} (a week), found {request.deadline_ms}")


def _check_prompt(request: pb.GenerateRequest, model: pb.ModelInfo) -> int:
    if len(request.prompt) > MAX_PROMPT_ITEMS:
        raise InvalidRequest(f"prompt must have at most {MAX_PROMPT_ITEMS} items, found {len(request.prompt)}")
    for index, item in enumerate(request.prompt):
        kind = item.WhichOneof("item")
        if kind == "media":
            raise InvalidRequest(f"prompt[{index}] is media: images and other media are not built yet, send token_ids")
        if kind is None:
            raise InvalidRequest(f"prompt[{index}] is empty: wanted token_ids")
    length = prompt_length(request)
    if length == 0:
        raise InvalidRequest("prompt has no tokens: wanted at least 1")
    # Before looking at the ids: a prompt that is far too long is refused without reading it.
    if length >= model.max_model_len:
        raise InvalidRequest(
            f"prompt has {length} tokens, but this engine holds {model.max_model_len} tokens of prompt and output: "
            f"at most {model.max_model_len - 1} leave room for an answer"
        )
    for index, item in enumerate(request.prompt):
        ids = item.token_ids.ids
        if ids and (largest := max(ids)) >= model.vocab_size:
            raise InvalidRequest(_outside_vocabulary(f"prompt[{index}]", largest, model))
    return length


def _check_lengths(sampling: pb.SamplingParams, prompt_tokens: int, model: pb.ModelInfo) -> None:
    room = model.max_model_len - prompt_tokens
    if sampling.HasField("max_tokens"):
        if sampling.max_tokens == 0:
            raise InvalidRequest("max_tokens must be at least 1, found 0; leave it out for as many as fit")
        if sampling.max_tokens > room:
            raise InvalidRequest(
                f"max_tokens {sampling.max_tokens} and a prompt of {prompt_tokens} tokens are more than the "
                f"{model.max_model_len} tokens that this engine holds: ask for at most {room}, or leave it out"
            )
        room = sampling.max_tokens
    if sampling.min_tokens > room:
        raise InvalidRequest(f"min_tokens must be at most {room}, the room for output, found {sampling.min_tokens}")


def _check_numbers(sampling: pb.SamplingParams) -> None:
    _within("temperature", sampling.temperature, 0.0, MAX_TEMPERATURE)
    _within("min_p", sampling.min_p, 0.0, 1.0)
    _within("presence_penalty", sampling.presence_penalty, -MAX_PENALTY, MAX_PENALTY)
    _within("frequency_penalty", sampling.frequency_penalty, -MAX_PENALTY, MAX_PENALTY)
    if sampling.HasField("top_p") and not 0.0 < sampling.top_p <= 1.0:
        raise InvalidRequest(f"top_p must be above 0 and at most 1, found {_shown(sampling.top_p)}")
    if sampling.HasField("repetition_penalty"):
        _within("repetition_penalty", sampling.repetition_penalty, MIN_REPETITION_PENALTY, MAX_REPETITION_PENALTY)


def _check_tokens(sampling: pb.SamplingParams, model: pb.ModelInfo) -> None:
    for name, ids in (("logit_bias", sampling.logit_bias), ("stop_token_ids", sampling.stop_token_ids)):
        if ids and (largest := max(ids)) >= model.vocab_size:
            raise InvalidRequest(_outside_vocabulary(name, largest, model))
    for token, bias in sampling.logit_bias.items():
        _within(f"logit_bias[{token}]", bias, -MAX_BIAS, MAX_BIAS)


def _check_counts(sampling: pb.SamplingParams, limits: pb.RequestLimits) -> None:
    if sampling.HasField("n") and not 1 <= sampling.n <= limits.max_n:
        raise InvalidRequest(f"n must be 1 to {limits.max_n}, found {sampling.n}")
    for name, found, most in (
        ("logprobs", sampling.logprobs, limits.max_logprobs),
        ("prompt_logprobs", sampling.prompt_logprobs, limits.max_logprobs),
        ("the number of stop_token_ids", len(sampling.stop_token_ids), limits.max_stop_token_ids),
        ("the number of logit_bias entries", len(sampling.logit_bias), limits.max_logit_bias),
    ):
        if found > most:
            raise InvalidRequest(f"{name} must be at most {most}, found {found}")
    if sampling.HasField("grammar"):
        raise InvalidRequest("grammar is not built yet: leave it out")


def _check_prompt_logprobs(sampling: pb.SamplingParams, prompt_tokens: int) -> None:
    if not sampling.HasField("prompt_logprobs"):
        return
    wanted = prompt_tokens * (sampling.prompt_logprobs + 1)
    if wanted > MAX_PROMPT_LOGPROBS:
        raise InvalidRequest(
            f"prompt_logprobs {sampling.prompt_logprobs} of {prompt_tokens} tokens are {wanted} log probabilities, "
            f"at most {MAX_PROMPT_LOGPROBS} are given at once: ask for fewer, or for less of the prompt"
        )


def _outside_vocabulary(name: str, token: int, model: pb.ModelInfo) -> str:
    return f"{name} has token id {token}: the vocabulary ends at {model.vocab_size - 1}"


def _within(name: str, value: float, least: float, most: float) -> None:
    # Written so that NaN fails.
    if not least <= value <= most:
        raise InvalidRequest(f"{name} must be {least:g} to {most:g}, found {_shown(value)}")


def _shown(value: float) -> str:
    return f"{value:g}" if math.isfinite(value) else str(value)
