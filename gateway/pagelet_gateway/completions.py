"""POST /v1/completions: the request's way in, and the legacy form of its answer."""

import asyncio
import time
from collections.abc import Iterator, Sequence

from pagelet_api import inference_pb2 as pb
from pagelet_api.openai.bodies import CompletionFields
from pagelet_api.openai.bounds import MAX_CHOICES
from pagelet_api.openai.errors import invalid
from pagelet_api.openai.responses import AnswerHead, Usage
from starlette.requests import Request

from pagelet_gateway.answer import Answer
from pagelet_gateway.asking import begin_sample, check_min_tokens, generate_request
from pagelet_gateway.exchange import Exchange
from pagelet_gateway.gateway import Gateway
from pagelet_gateway.generation import REQUESTS_PER_TURN
from pagelet_gateway.json_pieces import array, quote, quote_text
from pagelet_gateway.logprobs import (
    CompletionLogprobsWriter,
    WrittenLogprobs,
    completion_logprobs,
    prompt_logprob_items,
)
from pagelet_gateway.model import ServedModel
from pagelet_gateway.observer import request_id
from pagelet_gateway.sample import Delta
from pagelet_gateway.sampling import check_echo, sampling_params, tokens_to_generate
from pagelet_gateway.whole_answer import Collected
from pagelet_gateway.workers.job import Kind

_DEFAULT_MAX_TOKENS = 16  # OpenAI's


class _Echo:
    """A prompt as its choices show it: written once, whatever their number."""

    def __init__(self, tokens: Sequence[int], text: str | None, writer: CompletionLogprobsWriter) -> None:
        """`text`: None where it is not shown."""
        self.text = None if text is None else quote(text).encode("ascii")
        self.logprobs = WrittenLogprobs()
        self.prompt_logprobs: list[bytes] = []
        """The items of vLLM's array."""
        self.writer = writer
        self._tokens = tokens
        self._is_written = False

    def write(self, entries: Sequence[pb.TokenLogprobs], model: ServedModel, body: CompletionFields) -> Iterator[bytes]:
        """What is shown of the prompt's log probabilities. Yields empty pieces."""
        if self._is_written:
            return
        self._is_written = True
        if body.echo and body.logprobs is not None:
            yield from self.logprobs.add(entries, self.writer, self._tokens[0])
        if body.prompt_logprobs is not None:
            for piece in prompt_logprob_items(entries, model.tokenizer):
                self.prompt_logprobs.append(piece)
                yield b""


class CompletionForm:
    """Everything of a chunk but its text is written once a request, not once a token."""

    def __init__(
        self,
        id: str,
        body: CompletionFields,
        model: ServedModel,
        prompts: Sequence[Sequence[int]],
        texts: Sequence[str],
    ) -> None:
        """`texts`: of the prompts, where they are echoed."""
        self._id = id
        self._body = body
        self._model = model
        self._n = body.n or 1
        self._created = int(time.time())
        shows_special = body.skip_special_tokens is False
        skipped = frozenset() if shows_special else model.tokenizer.special_ids
        self._echoes = [
            _Echo(tokens, texts[number] if body.echo else None, CompletionLogprobsWriter(model.tokenizer, skipped))
            for number, tokens in enumerate(prompts)
        ]
        self._writers = [echo.writer.copy() for echo in self._echoes for _ in range(self._n)]
        include_usage = body.stream_options is not None and body.stream_options.include_usage
        self._head = f"data: {quote(self._answer_head())[:-1]}" + ',"choices":['
        self._foot = ('],"usage":null}' if include_usage else "]}") + "\n\n"
        self._heads = [f'{self._head}{{"index":{choice},"text":' for choice in range(len(prompts) * self._n)]
        self._tail = ',"logprobs":null,"finish_reason":null}' + self._foot

    def opening(self, choice: int) -> str:
        text = self._echoes[choice // self._n].text
        return "" if text is None else f"{self._heads[choice]}{text.decode('ascii')}{self._tail}"

    def text_event(self, choice: int, text: str) -> str:
        return f"{self._heads[choice]}{quote_text(text)}{self._tail}"

    def event(self, choice: int, delta: Delta) -> str:
        if delta.finish_reason is None and not delta.logprobs:
            return self.text_event(choice, delta.text)
        ending = ""
        if delta.finish_reason is not None:
            ending = f',"stop_reason":{quote(delta.stop_reason)}'
        logprobs = None if self._body.logprobs is None else self._writers[choice].write(delta.logprobs)
        return (
            f'{self._heads[choice]}{quote(delta.text)},"logprobs":{quote(logprobs)}'
            f',"finish_reason":{quote(delta.finish_reason)}{ending}}}{self._foot}'
        )

    def usage_event(self, usage: Usage) -> str:
        return f'{self._head}],"usage":{quote(usage)}}}\n\n'

    def whole(self, choices: Sequence[Collected], answer: Answer) -> Iterator[bytes]:
        yield f'{quote(self._answer_head())[:-1]},"choices":['.encode("ascii")
        for index, choice in enumerate(choices):
            echo = self._echoes[index // self._n]
            yield from echo.write(answer.prompt_logprobs[index // self._n], self._model, self._body)
            yield from self._choice(index, choice, echo)
        yield f'],"usage":{quote(answer.usage())}}}'.encode("ascii")

    def _choice(self, index: int, choice: Collected, echo: _Echo) -> Iterator[bytes]:
        yield f'{"," if index else ""}{{"index":{index},"text":'.encode("ascii")
        text = quote(choice.text).encode("ascii")
        if echo.text is None:
            yield text
        else:
            yield echo.text[:-1]
            yield text[1:]
        yield b',"logprobs":'
        if self._body.logprobs is None:
            yield b"null"
        else:
            # After the prompt's log probabilities, offsets go on where those end.
            writer = echo.writer.copy() if self._body.echo else self._writers[index]
            generated = WrittenLogprobs()
            yield from generated.add(choice.logprobs, writer)
            yield from completion_logprobs(echo.logprobs, generated)
        ending = f'"finish_reason":{quote(choice.finish_reason)},"stop_reason":{quote(choice.stop_reason)}'
        yield f',{ending},"prompt_logprobs":'.encode("ascii")
        if self._body.prompt_logprobs is None:
            yield b"null"
        else:
            yield from array(echo.prompt_logprobs)
        yield b"}"

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
        prepared, model = await gateway.prepare(request, Kind.COMPLETIONS)
        body = CompletionFields.model_validate(prepared.fields)
        prompts = prepared.prompts
        n = body.n or 1
        if len(prompts) * n > MAX_CHOICES:
            raise invalid(
                f"n: {len(prompts)} prompts times {n} are more than the {MAX_CHOICES} choices a request may have.",
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
        check_echo(body, sum(map(len, prompts)), sum(map(len, prepared.texts)))
        id = request_id(request.scope)
        requests: list[pb.GenerateRequest] = []
        for number, prompt in enumerate(prompts):
            if number and number % REQUESTS_PER_TURN == 0:
                await asyncio.sleep(0)
            # An engine generates at least one token; who wants none is not shown it.
            asked = 1 if scores_only else body.max_tokens
            max_tokens = tokens_to_generate(len(prompt), asked, _DEFAULT_MAX_TOKENS, model, "prompt", "max_tokens")
            assert max_tokens is not None
            check_min_tokens(body.min_tokens, max_tokens)
            sampling.max_tokens = max_tokens
            requests.append(generate_request(f"{id}-{number}", prompt, sampling, body))
        answer = Answer(prompts, n, lambda prompt: begin_sample(body, model, prompt, mute=scores_only))
        return Exchange(
            gateway,
            model.digest,
            requests,
            answer,
            CompletionForm(f"cmpl-{id}", body, model, prompts, prepared.texts),
            stream=bool(body.stream),
            include_usage=bool(body.stream_options and body.stream_options.include_usage),
        )
