"""Every bound of a request, from both sides."""

import math

import pytest
from pagelet_api import inference_pb2 as pb
from pagelet_engine.server.validation import LIMITS, InvalidRequest, check_request

from .engine_process import prompt

MODEL = pb.ModelInfo(vocab_size=100, max_model_len=50, limits=LIMITS)
TOP = MODEL.limits


def request(**fields: object) -> pb.GenerateRequest:
    return pb.GenerateRequest(**{"request_id": "r", "prompt": prompt(1, 2, 3), **fields})


def sampling(**fields: object) -> pb.GenerateRequest:
    return request(sampling=pb.SamplingParams(**fields))


GOOD = {
    "nothing but a prompt": request(),
    "the longest id": request(request_id="x" * 128),
    "an id beyond ASCII": request(request_id="größe"),
    "the longest prompt": request(prompt=prompt(*[99] * 49)),
    "the most pieces": request(prompt=[*prompt(1), *prompt() * 1023]),
    "a prompt in pieces": request(prompt=[*prompt(1), *prompt(), *prompt(2)]),
    "a deadline": request(deadline_ms=1),
    "greedy": sampling(temperature=0.0),
    "all the room": sampling(max_tokens=47, min_tokens=47),
    "the edges": sampling(
        n=TOP.max_n, top_p=1.0, min_p=1.0, presence_penalty=-2.0, frequency_penalty=2.0, repetition_penalty=10.0
    ),
    "the other edge": sampling(repetition_penalty=0.0101),
    "a tiny top_p": sampling(top_p=1e-30),
    "the most logprobs": sampling(logprobs=TOP.max_logprobs, prompt_logprobs=0),
    "the most stops": sampling(stop_token_ids=[99] * TOP.max_stop_token_ids),
    "the strongest bias": sampling(logit_bias={0: -100.0, 99: 100.0}),
    "the largest seed": sampling(seed=2**64 - 1),
    "any priority": request(priority=-(2**31)),
}

BAD = {
    "no id": (request(request_id=""), "request_id must have 1 to 128 characters, found 0"),
    "a long id": (request(request_id="x" * 129), "found 129"),
    "an id of control characters": (request(request_id="a\nb"), "printable"),
    "a long tenant": (request(tenant="x" * 257), "tenant must have at most 256 characters, found 257"),
    "a long salt": (request(cache_salt="x" * 257), "cache_salt"),
    "an adapter": (request(adapter="mine"), "adapter 'mine'"),
    "no time at all": (request(deadline_ms=0), "deadline_ms must be 1 to"),
    "all the time": (request(deadline_ms=2**64 - 1), "deadline_ms"),
    "no prompt": (request(prompt=[]), "prompt has no tokens"),
    "an empty prompt": (request(prompt=prompt()), "prompt has no tokens"),
    "an empty item": (request(prompt=[pb.PromptItem()]), "prompt[0] is empty"),
    "too many items": (request(prompt=prompt(1) * 1025), "prompt must have at most 1024 items, found 1025"),
    "an image": (request(prompt=[pb.PromptItem(media=pb.Media(mime_type="image/png"))]), "media are not built yet"),
    "a prompt without room": (request(prompt=prompt(*[1] * 50)), "prompt has 50 tokens, but this engine holds 50"),
    "a token beyond the vocabulary": (request(prompt=prompt(1, 100)), "token id 100: the vocabulary ends at 99"),
    "the largest token": (request(prompt=prompt(2**32 - 1)), str(2**32 - 1)),
    "no samples": (sampling(n=0), "n must be 1 to 128, found 0"),
    "too many samples": (sampling(n=10**9), "found 1000000000"),
    "nothing to say": (sampling(max_tokens=0), "max_tokens must be at least 1, found 0"),
    "too much to say": (sampling(max_tokens=48), "ask for at most 47"),
    "more than its most": (sampling(max_tokens=5, min_tokens=6), "min_tokens must be at most 5"),
    "more than the room": (sampling(min_tokens=48), "min_tokens must be at most 47"),
    "negative heat": (sampling(temperature=-0.1), "temperature must be 0 to 100, found -0.1"),
    "endless heat": (sampling(temperature=math.inf), "temperature must be 0 to 100, found inf"),
    "no number for heat": (sampling(temperature=math.nan), "temperature must be 0 to 100, found nan"),
    "top_p of nothing": (sampling(top_p=0.0), "top_p must be above 0 and at most 1, found 0"),
    "top_p beyond all": (sampling(top_p=1.1), "top_p must be above 0"),
    "no number for top_p": (sampling(top_p=math.nan), "found nan"),
    "min_p beyond all": (sampling(min_p=1.1), "min_p must be 0 to 1"),
    "negative min_p": (sampling(min_p=-0.1), "min_p must be 0 to 1"),
    "presence": (sampling(presence_penalty=2.1), "presence_penalty must be -2 to 2"),
    "frequency": (sampling(frequency_penalty=-2.1), "frequency_penalty must be -2 to 2"),
    "repetition of nothing": (sampling(repetition_penalty=0.0), "repetition_penalty must be 0.01 to 10, found 0"),
    "endless repetition": (sampling(repetition_penalty=math.inf), "repetition_penalty"),
    "too many logprobs": (sampling(logprobs=21), "logprobs must be at most 20, found 21"),
    "too many prompt logprobs": (sampling(prompt_logprobs=21), "prompt_logprobs must be at most 20, found 21"),
    "too many stops": (sampling(stop_token_ids=[1] * 65), "stop_token_ids must be at most 64, found 65"),
    "a stop beyond the vocabulary": (sampling(stop_token_ids=[100]), "stop_token_ids has token id 100"),
    "too many biases": (sampling(logit_bias=dict.fromkeys(range(1025), 1.0)), "must be at most 1024, found 1025"),
    "a bias beyond the vocabulary": (sampling(logit_bias={100: 1.0}), "logit_bias has token id 100"),
    "too strong a bias": (sampling(logit_bias={7: 100.5}), "logit_bias[7] must be -100 to 100, found 100.5"),
    "no number for a bias": (sampling(logit_bias={7: math.nan}), "logit_bias[7]"),
    "a grammar": (sampling(grammar=pb.Grammar(regex="a*")), "grammar is not built yet"),
}


@pytest.mark.parametrize("message", GOOD.values(), ids=GOOD.keys())
def test_what_is_within_bounds_passes(message: pb.GenerateRequest) -> None:
    check_request(message, MODEL)


@pytest.mark.parametrize(("message", "told"), BAD.values(), ids=BAD.keys())
def test_what_is_out_of_bounds_is_refused_with_a_sentence(message: pb.GenerateRequest, told: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        check_request(message, MODEL)
    assert told in str(refused.value)


def test_more_log_probabilities_of_a_prompt_than_one_message_carries_are_refused_with_the_sum() -> None:
    model = pb.ModelInfo()
    model.CopyFrom(MODEL)
    model.max_model_len = 2**20
    message = request(prompt=prompt(*[1] * 300_000), sampling=pb.SamplingParams(prompt_logprobs=20))
    with pytest.raises(InvalidRequest, match="are 6300000 log probabilities"):
        check_request(message, model)
    message.sampling.prompt_logprobs = 5
    check_request(message, model)
