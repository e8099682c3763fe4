"""Between messages and the core's own types. Pure, and quick where it runs every step.

Refuses to judge: what arrives here the front has validated.
"""

from collections.abc import Callable, Iterable
from itertools import chain

from google.protobuf.internal.containers import RepeatedCompositeFieldContainer
from pagelet_api import inference_pb2 as pb

from pagelet_engine.core import request as core
from pagelet_engine.core.news import News
from pagelet_engine.core.sampling import SamplingParams
from pagelet_engine.core.step import TokenLogprobs
from pagelet_engine.server import pipe_pb2 as pipe
from pagelet_engine.server.refusal import Code, refusal

FINISH_REASONS = {
    core.FinishReason.STOP: pb.STOP,
    core.FinishReason.LENGTH: pb.LENGTH,
    core.FinishReason.ABORT: pb.ABORT,
    core.FinishReason.DEADLINE: pb.DEADLINE,
}

FAILURES = {
    core.FinishReason.NON_FINITE: (
        Code.INTERNAL,
        "the model computed NaN or infinity for this request; another prompt, or another engine, may do better",
    ),
    core.FinishReason.NOTHING_LEFT: (
        Code.INVALID_ARGUMENT,
        "nothing was left to sample: logit_bias, min_tokens and stop_token_ids together exclude every token; lower "
        "min_tokens, or exclude fewer",
    ),
}
"""Ends that are errors: a request has one answer, so all its samples end with the first that fails."""

GREEDY_BELOW = 1e-5
"""Temperatures below this are greedy: that is their limit, and dividing logits by less overflows."""


def to_request(
    message: pb.GenerateRequest, arrived_s: float, eos_token_ids: Iterable[int], draw_seed: Callable[[], int]
) -> core.Request:
    """The request as the core schedules it. `arrived_s` is monotonic; `draw_seed` gives a seed to who brings none."""
    deadline_s = arrived_s + message.deadline_ms / 1000 if message.HasField("deadline_ms") else None
    return core.Request(
        id=message.request_id,
        prompt=tuple(chain.from_iterable(item.token_ids.ids for item in message.prompt)),
        sampling=_to_sampling(message.sampling, eos_token_ids, draw_seed),
        priority=message.priority,
        tenant=message.tenant,
        cache_salt=message.cache_salt,
        adapter=message.adapter,
        deadline_s=deadline_s,
        arrived_s=arrived_s,
    )


def _to_sampling(
    message: pb.SamplingParams, eos_token_ids: Iterable[int], draw_seed: Callable[[], int]
) -> SamplingParams:
    given = message.HasField
    temperature = message.temperature if given("temperature") else 1.0
    stops = frozenset(message.stop_token_ids)
    return SamplingParams(
        n=message.n if given("n") else 1,
        max_tokens=message.max_tokens if given("max_tokens") else None,
        min_tokens=message.min_tokens,
        temperature=0.0 if temperature < GREEDY_BELOW else temperature,
        top_k=message.top_k,
        top_p=message.top_p if given("top_p") else 1.0,
        min_p=message.min_p,
        repetition_penalty=message.repetition_penalty if given("repetition_penalty") else 1.0,
        presence_penalty=message.presence_penalty,
        frequency_penalty=message.frequency_penalty,
        logit_bias=dict(message.logit_bias),
        seed=message.seed if given("seed") else draw_seed(),
        stop_token_ids=stops if message.ignore_eos else stops.union(eos_token_ids),
        logprobs=message.logprobs if given("logprobs") else None,
        prompt_logprobs=message.prompt_logprobs if given("prompt_logprobs") else None,
    )


def add_news(news: News, step: pipe.StepFrame) -> None:
    """Say all of it in the step's frame."""
    if news.drawn:
        step.drawn.samples.extend([sample.number for sample in news.drawn_by])
        step.drawn.token_ids.extend(news.drawn)
    for update in news.updates:
        add_update(update, step.updates)


def add_update(update: core.RequestUpdate, into: RepeatedCompositeFieldContainer[pb.RequestUpdate]) -> None:
    """Append the update to a frame's."""
    message = into.add()
    message.request_id = update.request_id
    for sample in update.samples:
        if sample.finish_reason in FAILURES:
            message.CopyFrom(refusal(update.request_id, *FAILURES[sample.finish_reason]))
            return
    for sample in update.samples:
        entry = message.samples.add()
        if sample.index:
            entry.index = sample.index
        entry.token_ids.extend(sample.tokens)
        for logprobs in sample.logprobs:
            _fill_logprobs(logprobs, entry.logprobs.add())
        if sample.finish_reason is not None:
            entry.finish_reason = FINISH_REASONS[sample.finish_reason]
            if sample.stop_token is not None:
                entry.stop_token_id = sample.stop_token
        elif sample.number is not None:
            entry.number = sample.number
    if update.prompt is not None:
        message.prompt.tokens = update.prompt.tokens
        message.prompt.cached_tokens = update.prompt.cached_tokens
        for position in update.prompt.logprobs:
            into_position = message.prompt.logprobs.add()
            if position is not None:
                _fill_logprobs(position, into_position)
    if update.finished:
        message.finished = True


def _fill_logprobs(logprobs: TokenLogprobs, message: pb.TokenLogprobs) -> None:
    message.token_id = logprobs.token
    message.logprob = logprobs.logprob
    message.rank = logprobs.rank
    message.top_token_ids.extend(logprobs.top_tokens)
    message.top_logprobs.extend(logprobs.top_logprobs)
