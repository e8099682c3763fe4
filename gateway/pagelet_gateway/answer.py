"""An answer in the making: every choice of every prompt, its usage, and what the engines need not go on with. Pure."""

from collections.abc import Callable, Sequence

from pagelet_api import inference_pb2 as pb
from pagelet_api.openai.errors import server_error, timed_out
from pagelet_api.openai.responses import Usage

from pagelet_gateway.sample import Delta, Sample


class Answer:
    """Choices are numbered through: those of prompt 0 first, then prompt 1's."""

    def __init__(self, prompts: Sequence[Sequence[int]], n: int, begin: Callable[[Sequence[int]], Sample]) -> None:
        """`begin` makes the sample that follows a prompt."""
        self._n = n
        self._prompt_tokens = sum(map(len, prompts))
        self.samples = [begin(prompt) for prompt in prompts for _ in range(n)]
        self._running = [n] * len(prompts)
        self._cached_tokens = 0
        self.completion_tokens = 0
        """Of all choices."""
        self.prompt_logprobs: list[Sequence[pb.TokenLogprobs]] = [()] * len(prompts)
        """By prompt, where asked for: one a token, the first empty."""

    @property
    def finished(self) -> bool:
        return not any(self._running)

    def feed(self, prompt: int, update: pb.RequestUpdate) -> tuple[list[tuple[int, Delta]], list[int]]:
        """What the update adds to each choice, and the samples (of this prompt) that the engine may abort.

        Raises OpenAIError when the engine gave up.
        """
        if update.HasField("prompt"):
            self._cached_tokens += update.prompt.cached_tokens
            self.prompt_logprobs[prompt] = update.prompt.logprobs
        deltas: list[tuple[int, Delta]] = []
        needless: list[int] = []
        for part in update.samples:
            choice = self.choice(prompt, part.index)
            sample = self.samples[choice]
            if sample.finished:
                continue  # the engine had not heard of it yet
            if part.finish_reason == pb.ABORT:
                raise server_error("The engine aborted the request.")
            if part.finish_reason == pb.DEADLINE:
                raise timed_out("The answer was not complete within the time that a request may take here.")
            before = sample.completion_tokens
            deltas.append((choice, sample.feed(part)))
            self.completion_tokens += sample.completion_tokens - before
            if sample.finished:
                self._running[prompt] -= 1
                if not part.finish_reason:
                    needless.append(part.index)
        if update.finished and self._running[prompt]:
            raise server_error("The engine ended the request without finishing its answer.")
        return deltas, needless

    def draw(self, choice: int, token: int) -> str | None:
        """The text that one more token adds to a choice, as `feed` would; None where it takes `feed` to tell."""
        text = self.samples[choice].draw(token)
        if text is not None:
            self.completion_tokens += 1
        return text

    def choice(self, prompt: int, sample: int) -> int:
        """The number of this sample of this prompt among the choices."""
        return prompt * self._n + sample

    def is_complete(self, prompt: int) -> bool:
        """All samples of this prompt have ended."""
        return not self._running[prompt]

    def usage(self) -> Usage:
        return {
            "prompt_tokens": self._prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "total_tokens": self._prompt_tokens + self.completion_tokens,
            "prompt_tokens_details": {"cached_tokens": self._cached_tokens},
        }
