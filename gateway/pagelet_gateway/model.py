"""The model as the gateway knows it: what the engine says about it, its tokenizer, its chat template, its defaults.

Owns the reading of the files that GetTokenizer sends, and keeps what was read for as long as an engine has that model.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from typing import Any, Protocol

from pagelet_api import inference_pb2 as pb

from pagelet_gateway.template import ChatTemplate, TemplateError
from pagelet_gateway.tokenizer import Tokenizer, TokenizerError

Files = Mapping[str, bytes]


class ModelFilesError(Exception):
    """Files of a model that a gateway cannot serve from; the message names the file."""


@dataclass(frozen=True, slots=True)
class SamplingDefaults:
    """What a request means when it leaves these out: generation_config.json's, where the model has one, as in vLLM."""

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    repetition_penalty: float = 1.0


@dataclass(frozen=True, slots=True)
class ServedModel:
    """Immutable; requests hold on to the one they began with."""

    info: pb.ModelInfo
    tokenizer: Tokenizer
    template: ChatTemplate | None
    """None: the model has no chat template, or one that cannot be compiled."""
    template_error: str
    """Why there is none."""
    defaults: SamplingDefaults
    number: int = 0
    """What the worker processes call it."""

    @property
    def digest(self) -> str:
        return self.info.digest

    @property
    def fingerprint(self) -> str:
        """OpenAI's system_fingerprint: changes when the same seed may give another answer."""
        return f"fp_{self.info.digest.removeprefix('sha256:')[:12]}_{self.info.engine_version or '0'}"


def read_model(info: pb.ModelInfo, files: Files) -> ServedModel:
    """Raises ModelFilesError. Takes up to a second for a large vocabulary: run it in a thread."""
    if "tokenizer.json" not in files:
        raise ModelFilesError("the model folder has no tokenizer.json; import the model again with one")
    config = _object(files, "tokenizer_config.json")
    try:
        tokenizer = Tokenizer(files["tokenizer.json"], config)
    except TokenizerError as error:
        raise ModelFilesError(str(error)) from error
    template, template_error = None, "this model comes without a chat template"
    source = _template_source(files, config)
    if source is not None:
        try:
            template = ChatTemplate(source, tokenizer.special_tokens)
        except TemplateError as error:
            template_error = str(error)
    defaults = _defaults(_object(files, "generation_config.json"))
    return ServedModel(info, tokenizer, template, template_error, defaults)


def _object(files: Files, name: str) -> dict[str, Any]:
    try:
        value = json.loads(files.get(name, b"{}"))
    except ValueError as error:
        raise ModelFilesError(f"{name} is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise ModelFilesError(f"{name} is not a JSON object")
    return value


def _template_source(files: Files, config: Mapping[str, Any]) -> str | None:
    if "chat_template.jinja" in files:
        return files["chat_template.jinja"].decode("utf-8", "replace")
    template = config.get("chat_template")
    if isinstance(template, list):  # several by name
        named = {entry.get("name"): entry.get("template") for entry in template if isinstance(entry, dict)}
        template = named.get("default")
    return template if isinstance(template, str) else None


def _defaults(generation: Mapping[str, Any]) -> SamplingDefaults:
    def number(name: str, default: float, least: float, most: float) -> float:
        value = generation.get(name)
        usable = isinstance(value, int | float) and not isinstance(value, bool) and least <= value <= most
        return value if usable and value is not None else default

    return SamplingDefaults(
        temperature=number("temperature", 1.0, 0.0, 2.0),
        top_p=number("top_p", 1.0, 1e-6, 1.0),
        top_k=int(number("top_k", 0, 0, 2**31 - 1)),
        min_p=number("min_p", 0.0, 0.0, 1.0),
        repetition_penalty=number("repetition_penalty", 1.0, 0.01, 10.0),
    )


class Workers(Protocol):
    """The processes that make prompts, and need the model for it."""

    async def load(self, files: Files, vocab_size: int) -> int:
        """Returns the number that the model has there."""
        ...

    async def forget(self, numbers: set[int]) -> None: ...


class Models:
    """The models in use by digest. Each is fetched and read once, however many engines have it."""

    def __init__(self, executor: Executor, workers: Workers) -> None:
        self._executor = executor
        self._workers = workers
        self._read: dict[str, ServedModel] = {}
        self._reading = asyncio.Lock()

    async def get(self, info: pb.ModelInfo, fetch: Callable[[], Awaitable[Files]]) -> ServedModel:
        """The model that `info` describes; `fetch` gets its files if they are not known. Raises ModelFilesError."""
        async with self._reading:
            known = self._read.get(info.digest)
            # Another engine may hold the same model with another length or another name.
            if known is None or not info.digest:
                files = await fetch()
                loop = asyncio.get_running_loop()
                read, number = await asyncio.gather(
                    loop.run_in_executor(self._executor, read_model, info, files),
                    self._workers.load(files, info.vocab_size),
                )
                known = self._read[info.digest] = replace(read, number=number)
        return replace(known, info=info)

    async def keep(self, digests: set[str]) -> None:
        """Forget all others."""
        forgotten = {model.number for digest, model in self._read.items() if digest not in digests}
        if forgotten:
            self._read = {digest: model for digest, model in self._read.items() if digest in digests}
            await self._workers.forget(forgotten)
