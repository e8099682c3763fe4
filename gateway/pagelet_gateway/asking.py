"""What chat and completions ask of the engines, and how each of their samples is read. Pure."""

from collections.abc import Sequence

from pagelet_api import inference_pb2 as pb
from pagelet_api.openai.bodies import SamplingFields
from pagelet_api.openai.errors import invalid

from pagelet_gateway.model import ServedModel
from pagelet_gateway.sample import Sample


def generate_request(
    id: str, tokens: Sequence[int], sampling: pb.SamplingParams, body: SamplingFields
) -> pb.GenerateRequest:
    """`id`: unique in this gateway and in all others."""
    request = pb.GenerateRequest(
        request_id=id,
        sampling=sampling,
        # vLLM's users know lower as earlier; on the wire higher is first.
        priority=-(body.priority or 0),
        cache_salt=body.cache_salt or "",
    )
    request.prompt.add().token_ids.ids.extend(tokens)  # messages given to a constructor are copied
    return request


def begin_sample(body: SamplingFields, model: ServedModel, prompt: Sequence[int], *, mute: bool = False) -> Sample:
    """The reader of one sample that follows `prompt`. `mute`: only the prompt is of interest."""
    return Sample(
        model.tokenizer.detokenizer(prompt, skip_special_tokens=body.skip_special_tokens is not False),
        body.stop or (),
        include_stop=bool(body.include_stop_str_in_output),
        min_tokens=body.min_tokens or 0,
        end_tokens=frozenset(model.info.eos_token_ids),
        mute=mute,
    )


def check_min_tokens(min_tokens: int | None, max_tokens: int | None) -> None:
    """Raises OpenAIError 400."""
    if min_tokens and max_tokens is not None and min_tokens > max_tokens:
        raise invalid(f"min_tokens: wanted at most max_tokens, {max_tokens}, found {min_tokens}.", "min_tokens")
