"""POST /v1/chat/completions: the request's way in, and the form of its answer."""

import json
import time
from collections.abc import Sequence

from pagelet_api import inference_pb2 as pb
from pagelet_api.openai.bodies import ChatRequest
from pagelet_api.openai.errors import invalid
from pagelet_api.openai.fates import CHAT_REFUSED
from pagelet_api.openai.responses import AnswerHead, ChatChoice, ChatCompletion, ChatLogprobs, Usage
from starlette.requests import Request

from pagelet_gateway.answer import Answer
from pagelet_gateway.asking import begin_sample, check_min_tokens, generate_request
from pagelet_gateway.exchange import Collected, Exchange
from pagelet_gateway.gateway import Gateway
from pagelet_gateway.logprobs import chat_logprobs, prompt_logprobs
from pagelet_gateway.model import ServedModel
from pagelet_gateway.observer import request_id
from pagelet_gateway.sample import Delta
from pagelet_gateway.sampling import sampling_params, tokens_to_generate

_quote = json.JSONEncoder().encode
_quote_text = json.encoder.encode_basestring_ascii
"""ASCII: some clients split lines at U+2028 and its like, which JSON would let stand."""


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
        self._head = f"data: {_quote(self._answer_head('chat.completion.chunk'))[:-1]}" + ',"choices":['
        self._foot = ('],"usage":null}' if include_usage else "]}") + "\n\n"
        self._heads = [f'{self._head}{{"index":{choice},"delta":{{' for choice in range(n)]
        self._tail = '},"logprobs":null,"finish_reason":null}' + self._foot

    def opening(self, choice: int) -> str:
        return f'{self._heads[choice]}"role":"assistant","content":"",' + f'"refusal":null{self._tail}'

    def text_event(self, choice: int, text: str) -> str:
        return f'{self._heads[choice]}"content":{_quote_text(text)}{self._tail}'

    def event(self, choice: int, delta: Delta) -> str:
        if delta.finish_reason is None and not delta.logprobs:
            return self.text_event(choice, delta.text)
        content = f'"content":{_quote(delta.text)}' if delta.text else ""
        ending = ""
        if delta.finish_reason is not None:
            ending = f',"stop_reason":{_quote(delta.stop_reason)}'
        return (
            f'{self._heads[choice]}{content}}},"logprobs":{_quote(self._logprobs(delta.logprobs))}'
            f',"finish_reason":{_quote(delta.finish_reason)}{ending}}}{self._foot}'
        )

    def usage_event(self, usage: Usage) -> str:
        return f'{self._head}],"usage":{_quote(usage)}}}\n\n'

    def whole(self, choices: Sequence[Collected], answer: Answer) -> ChatCompletion:
        listed: list[ChatChoice] = [
            {
                "index": index,
                "message": {"role": "assistant", "content": choice.text, "refusal": None},
                "logprobs": self._logprobs(choice.logprobs),
                "finish_reason": choice.finish_reason,
                "stop_reason": choice.stop_reason,
            }
            for index, choice in enumerate(choices)
        ]
        of_prompt = answer.prompt_logprobs[0]
        return {
            **self._answer_head("chat.completion"),
            "choices": listed,
            "usage": answer.usage(),
            "prompt_logprobs": prompt_logprobs(of_prompt, self._model.tokenizer) if of_prompt else None,
        }

    def _logprobs(self, entries: Sequence[pb.TokenLogprobs]) -> ChatLogprobs | None:
        if self._top is None:
            return None
        return {"content": chat_logprobs(entries, self._top, self._model.tokenizer), "refusal": None}

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
        body = await gateway.read(request, ChatRequest, CHAT_REFUSED)
        model = await gateway.model(body.model)
        top_logprobs = (body.top_logprobs or 0) if body.logprobs else None
        sampling = sampling_params(body, model, logprobs=top_logprobs, prompt_logprobs=body.prompt_logprobs)
        prompt = await gateway.prompter.chat(model, body, add_special_tokens=bool(body.add_special_tokens))
        asked, asked_by = body.max_completion_tokens, "max_completion_tokens"
        if asked is None:
            asked, asked_by = body.max_tokens, "max_tokens"
        if asked == 0:
            raise invalid(f"{asked_by}: wanted at least 1, found 0.", asked_by)
        max_tokens = tokens_to_generate(len(prompt.tokens), asked, None, model, "messages", asked_by)
        if max_tokens is not None:
            sampling.max_tokens = max_tokens
        check_min_tokens(body.min_tokens, max_tokens)
        id = request_id(request.scope)
        answer = Answer([prompt.tokens], sampling.n, lambda tokens: begin_sample(body, model, tokens))
        include_usage = bool(body.stream_options and body.stream_options.include_usage)
        return Exchange(
            gateway,
            model.digest,
            [generate_request(id, prompt.tokens, sampling, body)],
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
