"""Do servers say, greedily, what Hugging Face says in fp32? Chat prompts, token by token, as far as both agree.

After the first different token two answers are two different texts, so only the agreeing beginning counts; how close
the decision was is told by the fp32 logits there. Servers are asked with token ids and answer with text, which is
compared: two tokens of the same text count as one.
"""

import json
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from cpu.contenders import Contender

MAX_TOKENS = 64
NEAR_TIE = 0.1
"""Logits that differ by less may change places by rounding alone: bf16 keeps 8 bits of numbers of 10 to 30."""
_TIMEOUT_S = 600
_BROKEN_END = "\ufffd"
"""What a decoder shows for a character of which a token has only some bytes."""


@dataclass(frozen=True, slots=True)
class Agreement:
    server: str
    agreeing: int
    """Tokens up to the first difference, over all prompts."""
    total: int
    exact: int
    """Prompts that were answered the same to the end."""
    prompts: int
    gaps: tuple[float | None, ...]
    """Of the others, at the first difference: by how much fp32 prefers its own token to that server's; None: to what
    it said could not be told."""

    @property
    def near_ties(self) -> int:
        return sum(gap is not None and gap < NEAR_TIE for gap in self.gaps)


@dataclass(frozen=True, slots=True)
class Reference:
    """What fp32 says to a prompt."""

    prompt: tuple[int, ...]
    tokens: tuple[int, ...]
    likeliest: tuple[tuple[tuple[int, float], ...], ...]
    """At each token: the likeliest ones and their logits, the chosen one first."""


def compare(contender: Contender, references: Sequence[Reference], decode: Callable[[Sequence[int]], str]) -> Agreement:
    agreeing, exact, gaps = 0, 0, []
    for reference in references:
        text = _ask(contender, reference.prompt)
        same = agreeing_tokens(reference.tokens, text, decode)
        agreeing += same
        if same == len(reference.tokens):
            exact += 1
        else:
            gaps.append(gap(reference, same, text, decode))
    total = sum(len(reference.tokens) for reference in references)
    return Agreement(contender.name, agreeing, total, exact, len(references), tuple(gaps))


def agreeing_tokens(tokens: Sequence[int], text: str, decode: Callable[[Sequence[int]], str]) -> int:
    """How many of the tokens the text begins with; all of them only if it says nothing else."""
    if decode(tokens) == text:
        return len(tokens)
    same = 0
    while same < len(tokens) - 1 and text.startswith(decode(tokens[: same + 1]).rstrip(_BROKEN_END)):
        same += 1
    return same


def gap(reference: Reference, same: int, text: str, decode: Callable[[Sequence[int]], str]) -> float | None:
    """How much the reference prefers its own token to the likeliest one with which the text could go on."""
    (_, chosen), *others = reference.likeliest[same]
    before = decode(reference.tokens[:same])
    for token, logit in others:
        after = decode([*reference.tokens[:same], token])
        # A token that adds nothing visible ends the answer.
        if after == text if after == before else text.startswith(after):
            return chosen - logit
    return None


def _ask(contender: Contender, prompt: Sequence[int]) -> str:
    body = {"model": contender.model, "prompt": list(prompt), "max_tokens": MAX_TOKENS, "temperature": 0}
    request = urllib.request.Request(
        f"{contender.url}/v1/completions", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as answer:
        return str(json.load(answer)["choices"][0]["text"])
