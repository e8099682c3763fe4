"""Greedy answers and when two of them count as the same.

Plain torch does not promise the same bits for another batch, so greedy decoding may take the other side of a tie. A
difference is allowed exactly there: where the reference run itself saw its two best tokens closer than NEAR_TIE.
"""

from dataclasses import dataclass

from openai import AsyncOpenAI

MODEL = "smollm2"
NEAR_TIE = 1e-3
"""Difference of the two best tokens' logarithmic probabilities."""


@dataclass(frozen=True)
class Answer:
    """One greedy answer, alone on the engine: its tokens' texts, and how clear the choice of each was."""

    tokens: tuple[str, ...]
    margins: tuple[float, ...]

    @property
    def text(self) -> str:
        return "".join(self.tokens)

    def assert_same(self, text: str, num_tokens: int) -> None:
        """`text` must be this answer's first `num_tokens` tokens, up to its first near-tie."""
        wanted = "".join(self.tokens[:num_tokens])
        if text == wanted:
            return
        ended = 0
        for token, margin in zip(self.tokens[:num_tokens], self.margins, strict=False):
            if not text.startswith(token, ended):
                assert margin < NEAR_TIE, f"after {text[:ended]!r}: wanted {token!r} (margin {margin}), found {text!r}"
                return
            ended += len(token)
        raise AssertionError(f"wanted {wanted!r}, found {text!r}")


async def ask_alone(client: AsyncOpenAI, prompt: str, max_tokens: int, *, ignore_eos: bool = False) -> Answer:
    """The reference: nothing else runs meanwhile, if the caller sees to it."""
    completion = await client.chat.completions.create(
        model=MODEL,
        messages=[{"role": "user", "content": prompt}],
        max_tokens=max_tokens,
        temperature=0,
        logprobs=True,
        top_logprobs=2,
        extra_body={"ignore_eos": ignore_eos},
    )
    logprobs = completion.choices[0].logprobs
    assert logprobs is not None
    assert logprobs.content
    return Answer(
        tuple(entry.token for entry in logprobs.content),
        tuple(abs(entry.top_logprobs[0].logprob - entry.top_logprobs[1].logprob) for entry in logprobs.content),
    )


async def ask_streaming(
    client: AsyncOpenAI, prompt: str, max_tokens: int, *, leave_after: int | None = None, ignore_eos: bool = False
) -> str:
    """The streamed text; with `leave_after`, hang up when so many pieces have come."""
    stream = await client.chat.completions.create(
        model=MODEL,
        messages=[{"role": "user", "content": prompt}],
        max_tokens=max_tokens,
        temperature=0,
        stream=True,
        extra_body={"ignore_eos": ignore_eos},
    )
    pieces: list[str] = []
    async with stream:
        async for chunk in stream:
            if chunk.choices and (text := chunk.choices[0].delta.content):
                pieces.append(text)
            if leave_after is not None and len(pieces) >= leave_after:
                break
    return "".join(pieces)
