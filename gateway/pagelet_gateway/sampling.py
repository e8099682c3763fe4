"""From an OpenAI body to the engine's sampling parameters: defaults filled in, bounds of the model checked. Pure."""

from pagelet_api import inference_pb2 as pb
from pagelet_api.openai.bodies import ChatFields, CompletionFields, SamplingFields
from pagelet_api.openai.bounds import MAX_ECHO_CHARACTERS, MAX_PROMPT_LOGPROBS
from pagelet_api.openai.errors import context_length_exceeded, invalid

from pagelet_gateway.model import ServedModel

_GREEDY_BELOW = 1e-5  # a smaller temperature overflows the division by it


def sampling_params(
    body: SamplingFields, model: ServedModel, *, logprobs: int | None, prompt_logprobs: int | None
) -> pb.SamplingParams:
    """All but max_tokens, which depends on the prompt. Raises OpenAIError 400."""
    defaults = model.defaults
    _check_limits(body, model)
    top_field = "top_logprobs" if isinstance(body, ChatFields) else "logprobs"
    _check_limit(top_field, logprobs or 0, model.info.limits.max_logprobs)
    temperature = defaults.temperature if body.temperature is None else body.temperature
    top_p = defaults.top_p if body.top_p is None else body.top_p
    top_k = defaults.top_k if body.top_k is None else max(0, body.top_k)
    if top_p == 0:  # OpenAI allows it: only the likeliest token is left
        top_p, top_k = 1.0, 1
    repetition_penalty = body.repetition_penalty
    return pb.SamplingParams(
        n=body.n or 1,
        min_tokens=body.min_tokens or 0,
        temperature=0.0 if temperature < _GREEDY_BELOW else temperature,
        top_k=top_k,
        top_p=max(top_p, 1e-6),  # a float32 above 0
        min_p=defaults.min_p if body.min_p is None else body.min_p,
        repetition_penalty=defaults.repetition_penalty if repetition_penalty is None else repetition_penalty,
        presence_penalty=body.presence_penalty or 0.0,
        frequency_penalty=body.frequency_penalty or 0.0,
        logit_bias=body.logit_bias or {},
        seed=None if body.seed is None else body.seed % 2**64,
        stop_token_ids=body.stop_token_ids or (),
        ignore_eos=body.ignore_eos or False,
        logprobs=logprobs,
        prompt_logprobs=prompt_logprobs,
    )


def tokens_to_generate(
    prompt_tokens: int, asked: int | None, default: int | None, model: ServedModel, param: str, asked_by: str
) -> int | None:
    """max_tokens for one prompt; None: as far as it goes. A default shrinks to what fits, a wish does not.

    `param`, `asked_by`: the fields to name when prompt or wish is too long. Raises OpenAIError 400.
    """
    if prompt_tokens == 0:
        raise invalid(f"{param}: wanted at least one token, found an empty prompt.", param)
    longest = model.info.max_model_len
    room = longest - prompt_tokens
    if room < 1:
        raise context_length_exceeded(prompt_tokens, 0, longest, param)
    if asked is not None:
        if asked > room:
            raise context_length_exceeded(prompt_tokens, asked, longest, asked_by)
        return asked
    return None if default is None else min(default, room)


def check_prompt_logprobs(alternatives: int | None, prompt_tokens: int, choices: int = 1) -> None:
    """That an answer shows no more of a prompt than it may: its log probabilities, in that many choices. Raises
    OpenAIError 400."""
    shown = 0 if alternatives is None else prompt_tokens * choices * (alternatives + 1)
    if shown > MAX_PROMPT_LOGPROBS:
        raise invalid(
            f"prompt_logprobs: {prompt_tokens} prompt tokens, {choices} choices and {alternatives} alternatives each "
            f"are {shown} log probabilities; one answer may have {MAX_PROMPT_LOGPROBS} of its prompts. Ask for "
            "fewer alternatives or choices, or in several requests.",
            "prompt_logprobs",
            "answer_too_large",
        )


def check_echo(body: CompletionFields, prompt_tokens: int, prompt_characters: int) -> None:
    """The same of a completion's prompts, all together, which are shown in each of their choices."""
    n = body.n or 1
    if body.echo:
        check_prompt_logprobs(body.logprobs, prompt_tokens, n)
        if prompt_characters * n > MAX_ECHO_CHARACTERS:
            raise invalid(
                f"echo: prompts of {prompt_characters} characters in {n} choices each are {prompt_characters * n}; one "
                f"answer may repeat {MAX_ECHO_CHARACTERS}. Ask for fewer choices, or without echo.",
                "echo",
                "answer_too_large",
            )
    check_prompt_logprobs(body.prompt_logprobs, prompt_tokens, n)


def _check_limits(body: SamplingFields, model: ServedModel) -> None:
    """Bounds that the engine states; 0 is an engine that states none."""
    limits, vocab_size = model.info.limits, model.info.vocab_size
    for param, found, most in (
        ("n", body.n or 1, limits.max_n),
        ("prompt_logprobs", body.prompt_logprobs or 0, limits.max_logprobs),
        ("stop_token_ids", len(body.stop_token_ids or ()), limits.max_stop_token_ids),
        ("logit_bias", len(body.logit_bias or ()), limits.max_logit_bias),
    ):
        _check_limit(param, found, most)
    for param, ids in (("stop_token_ids", body.stop_token_ids or ()), ("logit_bias", body.logit_bias or ())):
        if ids and max(ids) >= vocab_size:
            raise invalid(f"{param}: this model's token ids end at {vocab_size - 1}, found {max(ids)}.", param)


def _check_limit(param: str, found: int, most: int) -> None:
    if most and found > most:
        raise invalid(f"{param}: this model allows at most {most}, found {found}.", param)
