"""POST /v1/chat/completions: the request's way in, and the form of its answer."""

import time
from collections.abc import Iterator, Sequence

from pagelet_api import inference_pb2 as pb
from pagelet_api.openai.bodies import ChatFields
from pagelet_api.openai.errors import invalid
from pagelet_api.openai.responses import AnswerHead, ChatLogprobs, Usage
from starlette.requests import Request

from pagelet_gateway.answer import Answer
from pagelet_gateway.asking import begin_sample, check_min_tokens, generate_request
from pagelet_gateway.exchange import Exchange
from pagelet_gateway.gateway import Gateway
from pagelet_gateway.json_pieces import array, items, quote, quote_text
from pagelet_gateway.logprobs import chat_logprobs, prompt_logprob_items
from pagelet_gateway.model import ServedModel
from pagelet_gateway.observer import request_id
from pagelet_gateway.sample import Delta
from pagelet_gateway.sampling import check_prompt_logprobs, sampling_params, tokens_to_generate
from pagelet_gateway.whole_answer import Collected
from pagelet_gateway.workers.job import Kind


class ChatForm:
    """Everything of a chunk but its text is written once a request, not once a token."""

    def __init__(
        self, id: str, name: str, model: ServedModel, *, n: int, top_logprobs: int | None, include_usage: bool
    ) -> None:
        """`top_logprobs`: None for no logprobs at all."""
        self._id = id
        self._name = name
        self._model = model
        self._top = top_logprobs
        self._created = int(time.time())
        self._head = f"data: {quote(self._answer_head('chat.completion.chunk'))[:-1]}" + ',"choices":['
        self._foot = ('],"usage":null}' if include_usage else "]}") + "\n\n"
        self._heads = [f'{self._head}{{"index":{choice},"delta":{{' for choice in range(n)]
        self._tail = '},"logprobs":null,"finish_reason":null}' + self._foot

    def opening(self, choice: int) -> str:
        return f'{self._heads[choice]}"role":"assistant","content":"",' + f'"refusal":null{self._tail}'

    def text_event(self, choice: int, text: str) -> str:
        return f'{self._heads[choice]}"content":{quote_text(text)}{self._tail}'

    def event(self, choice: int, delta: Delta) -> str:
        if delta.finish_reason is None and not delta.logprobs:
            return self.text_event(choice, delta.text)
        content = f'"content":{quote(delta.text)}' if delta.text else ""
        ending = ""
        if delta.finish_reason is not None:
            ending = f',"stop_reason":{quote(delta.stop_reason)}'
        return (
            f'{self._heads[choice]}{content}}},"logprobs":{quote(self._logprobs(delta.logprobs))}'
            f',"finish_reason":{quote(delta.finish_reason)}{ending}}}{self._foot}'
        )

    def usage_event(self, usage: Usage) -> str:
        return f'{self._head}],"usage":{quote(usage)}}}\n\n'

    def whole(self, choices: Sequence[Collected], answer: Answer) -> Iterator[bytes]:
        yield f'{quote(self._answer_head("chat.completion"))[:-1]},"choices":['.encode("ascii")
        for index, choice in enumerate(choices):
            message = {"role": "assistant", "content": choice.text, "refusal": None}
            yield f'{"," if index else ""}{{"index":{index},"message":{quote(message)},"logprobs":'.encode("ascii")
            if self._top is None:
                yield b"null"
            else:
                yield b'{"content":'
                yield from array(items(chat_logprobs(choice.logprobs, self._top, self._model.tokenizer)))
                yield b',"refusal":null}'
            ending = f'"finish_reason":{quote(choice.finish_reason)},"stop_reason":{quote(choice.stop_reason)}'
            yield f",{ending}}}".encode("ascii")
        yield f'],"usage":{quote(answer.usage())},"prompt_logprobs":'.encode("ascii")
        of_prompt = answer.prompt_logprobs[0]
        if of_prompt:
            yield from array(prompt_logprob_items(of_prompt, self._model.tokenizer))
        else:
            yield b"null"
        yield b"}"

    def _logprobs(self, entries: Sequence[pb.TokenLogprobs]) -> ChatLogprobs | None:
        if self._top is None:
            return None
        return {"content": list(chat_logprobs(entries, self._top, self._model.tokenizer)), "refusal": None}

    def _answer_head(self, kind: str) -> AnswerHead:
        return {
            "id": self._id,
            "object": kind,
            "created": self._created,
            "model": self._name,
            "system_fingerprint": self._model.fingerprint,
        }


class ChatRoute:
    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def answer(self, request: Request) -> Exchange:
        """Raises OpenAIError."""
        gateway = self._gateway
        prepared, model = await gateway.prepare(request, Kind.CHAT)
        body = ChatFields.model_validate(prepared.fields)
        (prompt,) = prepared.prompts
        top_logprobs = (body.top_logprobs or 0) if body.logprobs else None
        sampling = sampling_params(body, model, logprobs=top_logprobs, prompt_logprobs=body.prompt_logprobs)
        check_prompt_logprobs(body.prompt_logprobs, len(prompt))
        asked, asked_by = body.max_completion_tokens, "max_completion_tokens"
        if asked is None:
            asked, asked_by = body.max_tokens, "max_tokens"
        if asked == 0:
            raise invalid(f"{asked_by}: wanted at least 1, found 0.", asked_by)
        max_tokens = tokens_to_generate(len(prompt), asked, None, model, "messages", asked_by)
        if max_tokens is not None:
            sampling.max_tokens = max_tokens
        check_min_tokens(body.min_tokens, max_tokens)
        id = request_id(request.scope)
        answer = Answer([prompt], sampling.n, lambda tokens: begin_sample(body, model, tokens))
        include_usage = bool(body.stream_options and body.stream_options.include_usage)
        return Exchange(
            gateway,
            model.digest,
            [generate_request(id, prompt, sampling, body)],
            answer,
            ChatForm(
                f"chatcmpl-{id}",
                body.model,
                model,
                n=sampling.n,
                top_logprobs=top_logprobs,
                include_usage=include_usage,
            ),
            stream=bool(body.stream),
            include_usage=include_usage,
        )
