import pytest
from pagelet_api import inference_pb2 as pb
from pagelet_engine.core import request as core
from pagelet_engine.core.step import TokenLogprobs
from pagelet_engine.server.conversion import FAILURES, add_update, to_request

from .engine_process import prompt

EOS = (7, 8)


def convert(**fields: object) -> core.Request:
    message = pb.GenerateRequest(**{"request_id": "r", "prompt": prompt(1), **fields})
    return to_request(message, 100.0, EOS, lambda: 4711)


def converted(update: core.RequestUpdate) -> pb.RequestUpdate:
    frame = pb.SessionFrame()
    add_update(update, frame.updates)
    return frame.updates[0]


def test_what_is_left_out_gets_the_documented_default() -> None:
    request = convert()
    sampling = request.sampling
    assert (sampling.n, sampling.max_tokens, sampling.temperature, sampling.top_p) == (1, None, 1.0, 1.0)
    assert (sampling.repetition_penalty, sampling.logprobs, sampling.prompt_logprobs) == (1.0, None, None)
    assert request.deadline_s is None


def test_zero_that_is_said_is_not_a_default() -> None:
    sampling = convert(sampling=pb.SamplingParams(temperature=0.0, logprobs=0, prompt_logprobs=0, seed=0)).sampling
    assert (sampling.temperature, sampling.logprobs, sampling.prompt_logprobs, sampling.seed) == (0.0, 0, 0, 0)


def test_a_seed_is_drawn_for_who_brings_none() -> None:
    assert convert().sampling.seed == 4711
    assert convert(sampling=pb.SamplingParams(seed=3)).sampling.seed == 3


def test_the_models_end_tokens_stop_a_sample_unless_they_are_ignored() -> None:
    assert convert(sampling=pb.SamplingParams(stop_token_ids=[5])).sampling.stop_token_ids == {5, 7, 8}
    ignoring = pb.SamplingParams(stop_token_ids=[5], ignore_eos=True)
    assert convert(sampling=ignoring).sampling.stop_token_ids == {5}


def test_a_temperature_that_would_overflow_is_greedy() -> None:
    assert convert(sampling=pb.SamplingParams(temperature=1e-30)).sampling.temperature == 0.0


def test_the_items_of_a_prompt_follow_each_other() -> None:
    assert convert(prompt=[*prompt(1, 2), *prompt(), *prompt(3)]).prompt == (1, 2, 3)


def test_a_deadline_counts_from_arrival() -> None:
    assert convert(deadline_ms=2500).deadline_s == 102.5


def test_an_update_says_all_that_the_core_said() -> None:
    logprobs = TokenLogprobs(4, -0.5, 2, (9, 4), (-0.25, -0.5))
    message = converted(
        core.RequestUpdate(
            "r",
            (core.SampleUpdate(1, (4,), (logprobs,), core.FinishReason.STOP, 4), core.SampleUpdate(0, (5, 6))),
            core.PromptReport(3, 2, (None, logprobs)),
            finished=True,
        )
    )
    first, second = message.samples
    assert (message.request_id, message.finished) == ("r", True)
    assert (first.index, list(first.token_ids), first.finish_reason, first.stop_token_id) == (1, [4], pb.STOP, 4)
    assert (first.logprobs[0].token_id, first.logprobs[0].logprob, first.logprobs[0].rank) == (4, -0.5, 2)
    assert list(first.logprobs[0].top_token_ids) == [9, 4]
    assert (second.index, list(second.token_ids), second.finish_reason) == (0, [5, 6], 0)
    assert not second.HasField("stop_token_id")
    assert (message.prompt.tokens, message.prompt.cached_tokens) == (3, 2)
    assert [entry.token_id for entry in message.prompt.logprobs] == [0, 4]


def test_every_reason_to_finish_has_its_number() -> None:
    numbers = {
        converted(core.RequestUpdate("r", (core.SampleUpdate(0, (), (), reason),))).samples[0].finish_reason
        for reason in core.FinishReason
        if reason not in FAILURES  # an error, not an end
    }
    assert numbers == {pb.STOP, pb.LENGTH, pb.ABORT, pb.DEADLINE}


@pytest.mark.parametrize(
    ("reason", "code", "sentence"),
    [
        (core.FinishReason.NON_FINITE, 13, "the model computed NaN or infinity"),
        (core.FinishReason.NOTHING_LEFT, 3, "nothing was left to sample: logit_bias, min_tokens and stop_token_ids"),
    ],
)
def test_a_request_without_a_token_ends_with_an_error_and_no_tokens(reason, code, sentence) -> None:
    failed = core.SampleUpdate(0, (), finish_reason=reason)
    message = converted(core.RequestUpdate("r", (core.SampleUpdate(1, (4,)), failed), finished=True))
    assert (message.error.code, message.finished, len(message.samples)) == (code, True, 0)
    assert sentence in message.error.message
