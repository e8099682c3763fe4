"""POST /v1/completions: the request's way in, and the legacy form of its answer."""

import asyncio
import json
import time
from collections.abc import Sequence

from pagelet_api import inference_pb2 as pb
from pagelet_api.openai.bodies import CompletionRequest
from pagelet_api.openai.bounds import MAX_CHOICES
from pagelet_api.openai.errors import invalid
from pagelet_api.openai.fates import COMPLETION_REFUSED
from pagelet_api.openai.responses import AnswerHead, Completion, CompletionChoice, CompletionLogprobs, Usage
from starlette.requests import Request

from pagelet_gateway.answer import Answer
from pagelet_gateway.asking import begin_sample, check_min_tokens, generate_request
from pagelet_gateway.exchange import Collected, Exchange
from pagelet_gateway.gateway import Gateway
from pagelet_gateway.logprobs import CompletionLogprobsWriter, prompt_logprobs
from pagelet_gateway.model import ServedModel
from pagelet_gateway.observer import request_id
from pagelet_gateway.prompts import Prompt
from pagelet_gateway.sample import Delta
from pagelet_gateway.sampling import sampling_params, tokens_to_generate

_DEFAULT_MAX_TOKENS = 16  # OpenAI's
_quote = json.JSONEncoder().encode
_quote_text = json.encoder.encode_basestring_ascii


class CompletionForm:
    """Everything of a chunk but its text is written once a request, not once a token."""

    def __init__(self, id: str, body: CompletionRequest, model: ServedModel, prompts: Sequence[Prompt]) -> None:
        self._id = id
        self._body = body
        self._model = model
        self._prompts = prompts
        self._n = body.n or 1
        self._created = int(time.time())
        shows_special = body.skip_special_tokens is False
        self._writers = [
            CompletionLogprobsWriter(model.tokenizer, frozenset() if shows_special else model.tokenizer.special_ids)
            for _ in range(len(prompts) * self._n)
        ]
        include_usage = body.stream_options is not None and body.stream_options.include_usage
        self._head = f"data: {_quote(self._answer_head())[:-1]}" + ',"choices":['
        self._foot = ('],"usage":null}' if include_usage else "]}") + "\n\n"
        self._heads = [f'{self._head}{{"index":{choice},"text":' for choice in range(len(prompts) * self._n)]
        self._tail = ',"logprobs":null,"finish_reason":null}' + self._foot

    def opening(self, choice: int) -> str:
        if not self._body.echo:
            return ""
        return f"{self._heads[choice]}{_quote(self._echo(choice))}{self._tail}"

    def text_event(self, choice: int, text: str) -> str:
        return f"{self._heads[choice]}{_quote_text(text)}{self._tail}"

    def event(self, choice: int, delta: Delta) -> str:
        if delta.finish_reason is None and not delta.logprobs:
            return self.text_event(choice, delta.text)
        ending = ""
        if delta.finish_reason is not None:
            ending = f',"stop_reason":{_quote(delta.stop_reason)}'
        logprobs = None if self._body.logprobs is None else self._writers[choice].write(delta.logprobs)
        return (
            f'{self._heads[choice]}{_quote(delta.text)},"logprobs":{_quote(logprobs)}'
            f',"finish_reason":{_quote(delta.finish_reason)}{ending}}}{self._foot}'
        )

    def usage_event(self, usage: Usage) -> str:
        return f'{self._head}],"usage":{_quote(usage)}}}\n\n'

    def whole(self, choices: Sequence[Collected], answer: Answer) -> Completion:
        listed = [self._choice(index, choice, answer) for index, choice in enumerate(choices)]
        return {**self._answer_head(), "choices": listed, "usage": answer.usage()}

    def _choice(self, index: int, choice: Collected, answer: Answer) -> CompletionChoice:
        of_prompt = answer.prompt_logprobs[index // self._n]
        wanted = self._body.prompt_logprobs is not None
        return {
            "index": index,
            "text": (self._echo(index) if self._body.echo else "") + choice.text,
            "logprobs": self._logprobs(index, choice, of_prompt),
            "finish_reason": choice.finish_reason,
            "stop_reason": choice.stop_reason,
            "prompt_logprobs": prompt_logprobs(of_prompt, self._model.tokenizer) if wanted else None,
        }

    def _logprobs(
        self, index: int, choice: Collected, of_prompt: Sequence[pb.TokenLogprobs]
    ) -> CompletionLogprobs | None:
        if self._body.logprobs is None:
            return None
        writer = self._writers[index]
        if not self._body.echo:
            return writer.write(choice.logprobs)
        echoed = writer.write(of_prompt, self._prompts[index // self._n].tokens)
        generated = writer.write(choice.logprobs)
        return {name: echoed[name] + generated[name] for name in echoed}  # type: ignore[literal-required, return-value]

    def _echo(self, choice: int) -> str:
        prompt = self._prompts[choice // self._n]
        if prompt.text is not None:
            return prompt.text
        skip = self._body.skip_special_tokens is not False
        return self._model.tokenizer.decode(prompt.tokens, skip_special_tokens=skip)

    def _answer_head(self) -> AnswerHead:
        return {
            "id": self._id,
            "object": "text_completion",
            "created": self._created,
            "model": self._body.model,
            "system_fingerprint": self._model.fingerprint,
        }


class CompletionRoute:
    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def answer(self, request: Request) -> Exchange:
        """Raises OpenAIError."""
        gateway = self._gateway
        body = await gateway.read(request, CompletionRequest, COMPLETION_REFUSED)
        model = await gateway.model(body.model)
        n = body.n or 1
        if len(body.prompt) * n > MAX_CHOICES:
            raise invalid(
                f"n: {len(body.prompt)} prompts times {n} are more than the {MAX_CHOICES} choices a request may have.",
                "n",
            )
        scores_only = body.max_tokens == 0
        if scores_only and (not body.echo or body.stream):
            raise invalid("max_tokens: wanted at least 1, found 0; 0 is only for echo without stream.", "max_tokens")
        # Echo with logprobs is about the prompt's tokens too.
        of_prompt = body.prompt_logprobs
        if body.echo and body.logprobs is not None:
            of_prompt = max(body.logprobs, of_prompt or 0)
        sampling = sampling_params(body, model, logprobs=body.logprobs, prompt_logprobs=of_prompt)
        prompts = await asyncio.gather(*(self._prompt(model, prompt, body) for prompt in body.prompt))
        id = request_id(request.scope)
        requests: list[pb.GenerateRequest] = []
        for number, prompt in enumerate(prompts):
            # An engine generates at least one token; who wants none is not shown it.
            asked = 1 if scores_only else body.max_tokens
            max_tokens = tokens_to_generate(
                len(prompt.tokens), asked, _DEFAULT_MAX_TOKENS, model, "prompt", "max_tokens"
            )
            assert max_tokens is not None
            check_min_tokens(body.min_tokens, max_tokens)
            sampling.max_tokens = max_tokens
            requests.append(generate_request(f"{id}-{number}", prompt.tokens, sampling, body))
        tokens = [prompt.tokens for prompt in prompts]
        answer = Answer(tokens, n, lambda prompt: begin_sample(body, model, prompt, mute=scores_only))
        return Exchange(
            gateway,
            model.digest,
            requests,
            answer,
            CompletionForm(f"cmpl-{id}", body, model, prompts),
            stream=bool(body.stream),
            include_usage=bool(body.stream_options and body.stream_options.include_usage),
        )

    async def _prompt(self, model: ServedModel, prompt: str | list[int], body: CompletionRequest) -> Prompt:
        if isinstance(prompt, str):
            add_special_tokens = body.add_special_tokens is not False
            return await self._gateway.prompter.text(model, prompt, add_special_tokens=add_special_tokens)
        if max(prompt) >= model.info.vocab_size:
            last = model.info.vocab_size - 1
            raise invalid(f"prompt: this model's token ids end at {last}, found {max(prompt)}.", "prompt")
        return Prompt(prompt)
