"""`pagelet chat`: a conversation in the terminal, through the OpenAI client that users' programs have too."""

import contextlib
import os
import sys
import time
from typing import TYPE_CHECKING

from openai import APIConnectionError, APIError, OpenAI, omit

from pagelet_operator.cli import CommandError

if TYPE_CHECKING:
    from openai.types.chat import ChatCompletionMessageParam

_HELP = "/reset forgets the conversation, /exit ends it; Ctrl-C stops an answer."


def chat(
    url: str,
    model: str,
    system: str,
    message: str | None,
    api_key: str,
    temperature: float | None,
    max_tokens: int | None,
) -> int:
    base_url = url.rstrip("/").removesuffix("/v1") + "/v1"
    # The client insists on a key; an endpoint without keys takes any.
    client = OpenAI(base_url=base_url, api_key=api_key or os.environ.get("OPENAI_API_KEY") or "none", max_retries=0)
    try:
        conversation = Conversation(
            client, model or _first_model(client, url), system, temperature=temperature, max_tokens=max_tokens
        )
        if message is not None:
            conversation.ask(message)
        elif sys.stdin.isatty():
            _interactive(conversation, url)
        else:
            # A pipe is one message, however many lines it has.
            conversation.ask(sys.stdin.read().strip())
    except APIConnectionError as error:
        raise CommandError(f"no answer from {url}: {_cause(error)}; is `pagelet up` running?") from error
    except APIError as error:
        raise CommandError(f"{url}: {error.message}") from error
    return 0


class Conversation:
    """The messages so far, and how fast the last answer came."""

    def __init__(
        self, client: OpenAI, model: str, system: str, *, temperature: float | None, max_tokens: int | None
    ) -> None:
        self._client = client
        self._temperature = temperature
        self._max_tokens = max_tokens
        self.model = model
        self._system = system
        self._messages: list[ChatCompletionMessageParam] = []
        self.reset()

    def reset(self) -> None:
        self._messages = [{"role": "system", "content": self._system}] if self._system else []

    def ask(self, text: str) -> None:
        """Print the answer as it comes, and its speed where a person watches. Ctrl-C keeps what has come so far."""
        if not text:
            raise CommandError("nothing to ask: the message is empty")
        self._messages.append({"role": "user", "content": text})
        began_s = time.monotonic()
        first_s = 0.0
        num_tokens = 0
        pieces: list[str] = []
        try:
            stream = self._client.chat.completions.create(
                model=self.model,
                messages=self._messages,
                temperature=omit if self._temperature is None else self._temperature,
                max_tokens=omit if self._max_tokens is None else self._max_tokens,
                stream=True,
                stream_options={"include_usage": True},
            )
            with stream:
                for chunk in stream:
                    if chunk.usage:
                        num_tokens = chunk.usage.completion_tokens
                    if chunk.choices and (piece := chunk.choices[0].delta.content):
                        first_s = first_s or time.monotonic()
                        pieces.append(piece)
                        print(piece, end="", flush=True)
        except KeyboardInterrupt:
            if not sys.stdin.isatty():
                raise
        except APIError:
            self._messages.pop()
            raise
        print(flush=True)
        if not pieces:
            self._messages.pop()  # a question without an answer would confuse the next one
            return
        self._messages.append({"role": "assistant", "content": "".join(pieces)})
        if sys.stderr.isatty() and num_tokens:
            _show_speed(num_tokens, first_s - began_s, time.monotonic() - first_s)


def _show_speed(num_tokens: int, to_first_s: float, after_first_s: float) -> None:
    """Tokens a second after the first: the wait for the first is told apart."""
    rate = f", {(num_tokens - 1) / after_first_s:.1f} tokens/s" if num_tokens > 1 and after_first_s > 0 else ""
    print(f"\x1b[2m{num_tokens} tokens, first after {to_first_s * 1000:.0f} ms{rate}\x1b[0m", file=sys.stderr)


def _interactive(conversation: Conversation, url: str) -> None:
    # Imported for what it does to input(): line editing and history.
    with contextlib.suppress(ImportError):
        import readline  # noqa: F401

    print(f"{conversation.model} at {url}. {_HELP}")
    while True:
        try:
            text = input("\n> ").strip()
        except EOFError:
            print()
            return
        except KeyboardInterrupt:
            print()
            continue
        match text:
            case "":
                continue
            case "/exit" | "/quit":
                return
            case "/reset":
                conversation.reset()
                print("The conversation begins anew.")
            case _ if text.startswith("/"):
                print(f"There is no {text.split()[0]}. {_HELP}")
            case _:
                try:
                    conversation.ask(text)
                except APIConnectionError:
                    raise
                except APIError as error:
                    print(f"\n{error.message}", file=sys.stderr)


def _first_model(client: OpenAI, url: str) -> str:
    models = client.models.list().data
    if not models:
        raise CommandError(f"{url} serves no model")
    return models[0].id


def _cause(error: BaseException) -> str:
    """The deepest reason: the client wraps the system's word several times."""
    while (deeper := error.__cause__ or error.__context__) is not None:
        error = deeper
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
