"""Whether this gateway may be sent requests: from when one of its own has gone through end to end, until it stops.

Proven first, because a new gateway that reaches no engine must not replace those that do. Ready from then on, engines
or none: a Service without a ready gateway refuses connections, where a gateway says why, and when to try again.
"""

import asyncio
import logging

from pagelet_api import inference_pb2 as pb
from pagelet_api.openai.errors import OpenAIError

from pagelet_gateway.gateway import Gateway
from pagelet_gateway.generation import Generation
from pagelet_gateway.model import ServedModel
from pagelet_gateway.observer import new_request_id

_log = logging.getLogger(__name__)
_PROBE_TIMEOUT_S = 60.0
_RETRY_S = 0.5


class Readiness:
    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._proven = False
        self._failure = ""

    @property
    def obstacle(self) -> str | None:
        """What it waits for; None when it is ready."""
        if self._gateway.stopping:
            return "stopping: streams in flight are being finished"
        if self._proven:
            return None
        if self._gateway.engines.model is None:
            return f"no engine of {self._gateway.config.engine_host}:{self._gateway.config.engine_port} is connected"
        return self._failure or "the first request of its own is not answered yet"

    async def run(self) -> None:
        """Send one request as soon as there is an engine, again until one is answered."""
        while not self._proven:
            changed = asyncio.ensure_future(self._gateway.engines.changed())
            model = self._gateway.engines.model
            if model is None:
                await changed
                continue
            changed.cancel()
            try:
                await self._probe(model)
                self._proven = True
                _log.info("ready: a request went through end to end")
            except OpenAIError as error:
                self._failure = f"the first request of its own failed: {error.message}"
                _log.warning("%s", self._failure)
                await asyncio.sleep(_RETRY_S)

    async def _probe(self, model: ServedModel) -> None:
        """Tokens of a text there, one token back, and text of it. Raises OpenAIError."""
        tokens = model.tokenizer.encode("Hello", add_special_tokens=True) or [0]
        request = pb.GenerateRequest(
            request_id=new_request_id(),
            prompt=[pb.PromptItem(token_ids=pb.TokenIds(ids=tokens))],
            sampling=pb.SamplingParams(max_tokens=1, temperature=0),
        )
        pick = self._gateway.engines.pick
        generation = Generation(lambda tried: pick(model.digest, tried), [request], timeout_s=_PROBE_TIMEOUT_S)
        detokenizer = model.tokenizer.detokenizer(tokens, skip_special_tokens=True)
        try:
            await generation.start()
            finished = False
            while not finished:
                for _, update in await generation.take():
                    for sample in update.samples:
                        for token in sample.token_ids:
                            detokenizer.feed(token)
                    finished = finished or update.finished
        finally:
            generation.close()
