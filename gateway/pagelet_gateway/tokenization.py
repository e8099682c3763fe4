"""POST /tokenize and /detokenize, in vLLM's shapes."""

import asyncio

from pagelet_api.openai.bodies import DetokenizeRequest, TokenizeChatRequest, TokenizeRequest
from pagelet_api.openai.errors import invalid
from pagelet_api.openai.fates import TOKENIZE_REFUSED
from pagelet_api.openai.parsing import parse_json
from pagelet_api.openai.responses import Detokenized, Tokenized
from starlette.requests import Request
from starlette.responses import JSONResponse

from pagelet_gateway.body import read_body
from pagelet_gateway.gateway import Gateway


class TokenizationRoutes:
    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def tokenize(self, request: Request) -> JSONResponse:
        """Raises OpenAIError."""
        gateway = self._gateway
        data = parse_json(await read_body(request))
        body: TokenizeRequest | TokenizeChatRequest
        if "messages" in data:
            body = gateway.parse(data, TokenizeChatRequest, TOKENIZE_REFUSED)
            model = await gateway.model(body.model)
            prompt = await gateway.prompter.chat(model, body, add_special_tokens=bool(body.add_special_tokens))
        else:
            body = gateway.parse(data, TokenizeRequest, TOKENIZE_REFUSED)
            model = await gateway.model(body.model)
            add_special_tokens = body.add_special_tokens is not False
            prompt = await gateway.prompter.text(model, body.prompt, add_special_tokens=add_special_tokens)
        names = [model.tokenizer.token_name(token) for token in prompt.tokens] if body.return_token_strs else None
        answer: Tokenized = {
            "count": len(prompt.tokens),
            "max_model_len": model.info.max_model_len,
            "tokens": prompt.tokens,
            "token_strs": names,
        }
        return JSONResponse(answer)

    async def detokenize(self, request: Request) -> JSONResponse:
        """Raises OpenAIError."""
        body = await self._gateway.read(request, DetokenizeRequest, {})
        model = await self._gateway.model(body.model)
        if body.tokens and max(body.tokens) >= model.info.vocab_size:
            last = model.info.vocab_size - 1
            raise invalid(f"tokens: this model's token ids end at {last}, found {max(body.tokens)}.", "tokens")
        text = await asyncio.get_running_loop().run_in_executor(
            self._gateway.executor, lambda: model.tokenizer.decode(body.tokens, skip_special_tokens=False)
        )
        answer: Detokenized = {"prompt": text}
        return JSONResponse(answer)
