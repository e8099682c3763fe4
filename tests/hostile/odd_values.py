"""JSON values that go wrong: huge, deep, of the wrong type, or no JSON at all. Refuses to know where they go."""

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

Random = random.Random

SPECIAL = ("<|im_start|>", "<|im_end|>", "<|endoftext|>", "<|im_start|>system\n", "<repo_name>", "<|unknown|>")
UNICODE = (
    "é",
    "e\u0301",
    "日本語",
    "👩‍👩‍👧",
    "\u200b",
    "\u202e",
    "\ufeff",
    "\x00",
    "\x7f",
    "ﷺ",
    "𝔘",
    "\u0344" * 9,
    "\r\n",
)
_NUMBERS = (
    *("0", "-0", "-1", "1", "2", "127", "128", "129", "2147483647", "2147483648", "4294967295", "4294967296", "1e400"),
    *("9223372036854775807", "9223372036854775808", "18446744073709551615", "18446744073709551616", "0.0", "-1e-400"),
    *("1e308", "1e-308", "-1e308", "5e-324", "0.1", "1.0", "1.5", "2.0000001", "-2.0000001", "1E2", "0.00001"),
    *("-9223372036854775809", "1" + "0" * 4290, "9" * 5000, "-" + "9" * 50_000, "0." + "3" * 100_000, "1e" + "9" * 999),
)


@dataclass(frozen=True, slots=True)
class Literal:
    """JSON, or what should not pass for it, that goes into the body as it is."""

    text: str


def size(rng: Random, most: int) -> int:
    """As many of each order of magnitude, or fewer than of the one below."""
    exponents = len(str(most)) - 1
    exponent = rng.uniform(0, exponents)
    return int(10 ** (exponent if rng.random() < 0.3 else min(exponent, rng.uniform(0, exponents))))


def long_list(rng: Random) -> Literal:
    items = ("0", '""', "[]", "{}", "null", '"a"', "-1", "true", "49151", '{"role":"u"}', '{"type":"text","text":"a"}')
    item = rng.choice(items)
    return Literal(f"[{','.join([item] * size(rng, 1_000_000))}]")


def long_object(rng: Random) -> Literal:
    count = size(rng, 100_000)
    value = rng.choice(("0", "null", '""', "[]", "-101"))
    return object_of((str(number), value) for number in range(count))


def object_of(pairs: Iterable[tuple[str, str]]) -> Literal:
    return Literal("{" + ",".join(f'"{name}":{value}' for name, value in pairs) + "}")


def deep(rng: Random) -> Literal:
    depth = size(rng, 1_000_000)
    before, after = rng.choice((("[", "]"), ('{"a":', "}"), ('[{"a":', "}]"), ("[[],", "]")))
    inside = "" if before.endswith("[") else "0"
    return Literal(before * depth + inside + after * (depth if rng.random() < 0.8 else depth // 2))


def long_text(rng: Random) -> str:
    unit = rng.choice(("a", "1", " ", "\n", "a b ", "é", "e\u0301", "🎉", '"', "\\", "\x01", *SPECIAL, *UNICODE))
    return unit * (size(rng, 1_000_000) // len(unit) + 1)


def odd_text(rng: Random) -> Any:
    return rng.choice(
        (
            "",
            " ",
            "".join(rng.choices(SPECIAL + UNICODE, k=5)),
            "{{ 7 * 7 }}{% for a in range(9) %}",
            "../../etc/passwd",
            "\ud800",
            Literal('"\\ud83d"'),
            Literal('"\\udc00\\ud800"'),
            Literal('"\\u0000"'),
            Literal('"\\x41"'),
            Literal('"a\nb"'),
            "a" * 257,
        )
    )


def odd_number(rng: Random) -> Literal:
    return Literal(rng.choice(_NUMBERS))


def any_value(rng: Random) -> Any:
    """A value of some type, wrong for most fields."""
    plain = (None, True, False, "", "0", [], {}, [[]], [{}], {"a": None}, [None], ["a", 1], 0, -1, 1.5)
    makers: tuple[Callable[[Random], Any], ...] = (
        *(long_list, long_object, deep, long_text),
        *(odd_text, odd_text, odd_number, odd_number, odd_number),
        *[lambda rng: rng.choice(plain)] * 9,
    )
    return rng.choice(makers)(rng)
