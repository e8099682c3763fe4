"""A model's chat template: messages → the text of the prompt.

Owns the jinja2 sandbox in which templates run, with the names that Hugging Face's templates expect, and a budget of
steps, time and output for each rendering. The template is the model folder's and as trusted as the weights; what it is
fed comes from anyone, so every loop is counted, and large products are refused. Knows no tokens.

Source of the environment: Hugging Face transformers, "Writing a chat template".
"""

import json
import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NoReturn

import jinja2
from jinja2 import nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.visitor import NodeTransformer

_BUDGET = " budget"  # not an identifier: no template can name it, and so none can replace it


class TemplateError(Exception):
    """A template that cannot be compiled, or messages it cannot render; the message is for the client."""


@dataclass(slots=True)
class Budget:
    """What one rendering may use. Spent by loops and by output."""

    steps: int = 1_000_000
    characters: int = 16 * 2**20
    seconds: float = 5.0
    deadline: float = 0.0

    def start(self) -> None:
        self.deadline = time.monotonic() + self.seconds

    def spend_step(self) -> None:
        self.steps -= 1
        if self.steps < 0:
            raise TemplateError("the chat template loops too often over these messages")
        if not self.steps & 0xFF and time.monotonic() > self.deadline:
            raise TemplateError(f"the chat template took longer than {self.seconds} s over these messages")

    def spend_output(self, text: str) -> None:
        self.characters -= len(text)
        if self.characters < 0:
            raise TemplateError("the chat template makes too long a prompt of these messages")
        if time.monotonic() > self.deadline:
            raise TemplateError(f"the chat template took longer than {self.seconds} s over these messages")


class _Sandbox(ImmutableSandboxedEnvironment):
    intercepted_binops = frozenset(["*", "**"])

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """Products of long things, and powers, are how a short expression fills the memory."""
        if operator == "**" or _size(left) * _size(right) > 2**20:
            raise TemplateError("the chat template multiplies more than is allowed")
        return super().call_binop(context, operator, left, right)


def _size(factor: object) -> int:
    if isinstance(factor, int):
        return max(1, factor)
    return len(factor) if isinstance(factor, Sequence) else 1


class _GenerationTag(Extension):
    """`{% generation %}` marks an assistant's text for training; here it is only its content."""

    tags = {"generation"}  # noqa: RUF012 jinja2 wants a set

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class _CountLoops(NodeTransformer):
    """Puts every loop's iterable through the filter `counted`."""

    def visit_For(self, node: nodes.For) -> nodes.For:
        self.generic_visit(node)
        node.iter = nodes.Filter(node.iter, "counted", [], [], None, None, lineno=node.lineno)
        return node


@jinja2.pass_context
def _counted(context: Context, items: Iterable[Any]) -> Iterator[Any]:
    budget: Budget = context.parent[_BUDGET]
    for item in items:
        budget.spend_step()
        yield item


def _raise_exception(message: str) -> NoReturn:
    raise TemplateError(message)


def _tojson(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    # jinja2's own escapes for HTML, which no model was trained on.
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _environment() -> _Sandbox:
    environment = _Sandbox(trim_blocks=True, lstrip_blocks=True, extensions=[_GenerationTag, loopcontrols])
    environment.filters["tojson"] = _tojson
    environment.filters["counted"] = _counted
    environment.globals["raise_exception"] = _raise_exception
    environment.globals["strftime_now"] = lambda form: datetime.now().strftime(form)
    return environment


class ChatTemplate:
    """Compiled once; `render` may run in several threads at the same time."""

    def __init__(
        self,
        source: str,
        special_tokens: Mapping[str, str],
        budget: Callable[[], Budget] = Budget,
    ) -> None:
        """Raises TemplateError when the source is not jinja2."""
        environment = _environment()
        try:
            tree = _CountLoops().visit(environment.parse(source))
            code = environment.compile(tree, "chat_template", "chat_template")
        except jinja2.TemplateError as error:
            raise TemplateError(f"the model's chat template cannot be compiled: {error}") from error
        self._template = jinja2.Template.from_code(environment, code, environment.make_globals(None))
        self._special_tokens = dict(special_tokens)
        self._budget = budget

    def render(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        add_generation_prompt: bool,
        continue_final_message: bool = False,
        variables: Mapping[str, Any] | None = None,
    ) -> str:
        """The prompt's text. Raises TemplateError with the template's own sentence where it has one."""
        if not continue_final_message:
            return self._render(messages, add_generation_prompt, variables or {})
        if not messages[-1]["content"]:
            raise TemplateError("continue_final_message: the final message has no text to continue")
        # Rendered with a mark after the final message's text, and cut there: what a template writes after a message
        # is of no concern. Whether the space after the mark survives tells whether the template trims messages.
        mark = f"<{secrets.token_hex(16)}>"
        final = {**messages[-1], "content": f"{messages[-1]['content']}{mark} "}
        text = self._render([*messages[:-1], final], False, variables or {})
        before, found, after = text.rpartition(mark)
        if not found:
            raise TemplateError("continue_final_message: the chat template does not show the final message")
        return before if after.startswith(" ") else before.rstrip()

    def _render(self, messages: Sequence[Mapping[str, Any]], begin: bool, variables: Mapping[str, Any]) -> str:
        budget = self._budget()
        budget.start()
        given = {
            "tools": None,
            "documents": None,
            **self._special_tokens,
            **variables,
            "messages": messages,
            "add_generation_prompt": begin,
            _BUDGET: budget,
        }
        pieces: list[str] = []
        try:
            for piece in self._template.root_render_func(self._template.new_context(given)):
                budget.spend_output(piece)
                pieces.append(piece)
        except (TemplateError, MemoryError):
            raise
        except RecursionError as error:
            raise TemplateError("the chat template nests too deeply over these messages") from error
        except Exception as error:  # a template can fail in as many ways as a program
            raise TemplateError(f"the model's chat template cannot render these messages: {error}"[:500]) from error
        return "".join(pieces)
