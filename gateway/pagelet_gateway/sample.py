"""One choice of an answer: from tokens to text, stop strings and counts. Pure: no clock, no sockets."""

from collections.abc import Sequence
from dataclasses import dataclass

from pagelet_api import inference_pb2 as pb
from pagelet_api.openai.responses import FinishReason

from pagelet_gateway.detokenizer import Detokenizer
from pagelet_gateway.stopping import StopMatcher


@dataclass(slots=True)
class Delta:
    """What one update added to a choice."""

    text: str
    logprobs: Sequence[pb.TokenLogprobs] = ()
    """One a token, when asked for; the text of these tokens may still be held back."""
    finish_reason: FinishReason | None = None
    stop_reason: str | int | None = None
    """The stop string or the stop token that ended it; None for the model's own end."""


class Sample:
    """`completion_tokens` counts every token through the one that completed the answer, and none after it."""

    def __init__(
        self,
        detokenizer: Detokenizer,
        stops: Sequence[str] = (),
        *,
        include_stop: bool = False,
        min_tokens: int = 0,
        end_tokens: frozenset[int] = frozenset(),
        mute: bool = False,
    ) -> None:
        """`min_tokens`: stop strings are looked for in the text after these. `end_tokens`: the model's own ends.
        `mute`: nothing of it is shown or counted.
        """
        self._detokenizer = detokenizer
        self._matcher = StopMatcher(stops, include=include_stop) if stops else None
        self._include_stop = include_stop
        self._min_tokens = min_tokens
        self._end_tokens = end_tokens
        self._mute = mute
        self.completion_tokens = 0
        self.finished = False

    def feed(self, update: pb.SampleUpdate) -> Delta:
        """Must not be called once `finished`."""
        if self._mute:
            self.finished = bool(update.finish_reason)
            return Delta("", finish_reason="length" if self.finished else None)
        tokens = update.token_ids
        reason = update.finish_reason
        if reason == pb.FINISH_REASON_UNSPECIFIED and self._matcher is None:
            self.completion_tokens += len(tokens)
            feed = self._detokenizer.feed
            text = feed(tokens[0]) if len(tokens) == 1 else "".join(map(feed, tokens))
            return Delta(text, update.logprobs)
        ended_by_token = reason == pb.STOP and update.HasField("stop_token_id")
        # The token that ended the sample is counted, and shown only on request.
        shown = tokens[:-1] if ended_by_token and not self._include_stop else tokens
        texts: list[str] = []
        for number, token in enumerate(shown, start=1):
            self.completion_tokens += 1
            stop = self._take(self._detokenizer.feed(token), texts)
            if stop is not None:
                return self._end(texts, update.logprobs[:number], "stop", stop)
        self.completion_tokens += len(tokens) - len(shown)
        if reason == pb.FINISH_REASON_UNSPECIFIED:
            return Delta("".join(texts), update.logprobs)
        stop = self._take(self._detokenizer.flush(), texts)
        if stop is not None:
            return self._end(texts, update.logprobs, "stop", stop)
        if self._matcher is not None:
            texts.append(self._matcher.flush())
        own_end = not ended_by_token or update.stop_token_id in self._end_tokens
        return self._end(
            texts, update.logprobs, "stop" if reason == pb.STOP else "length", None if own_end else update.stop_token_id
        )

    def draw(self, token: int) -> str | None:
        """The text of one more token where nothing but its text can matter; None, and nothing done, where it can."""
        if self._matcher is not None or self._mute or self.finished:
            return None
        self.completion_tokens += 1
        return self._detokenizer.feed(token)

    def _take(self, text: str, texts: list[str]) -> str | None:
        if self._matcher is None or self.completion_tokens <= self._min_tokens:
            texts.append(text)
            return None
        emitted, matched = self._matcher.feed(text)
        texts.append(emitted)
        return matched

    def _end(
        self, texts: list[str], logprobs: Sequence[pb.TokenLogprobs], reason: FinishReason, stop: str | int | None
    ) -> Delta:
        self.finished = True
        return Delta("".join(texts), logprobs, reason, stop)
