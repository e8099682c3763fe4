"""Chat templates: what transformers makes of them, and no more than a budget allows."""

from typing import Any

import pytest
from pagelet_gateway.template import Budget, ChatTemplate, TemplateError
from transformers.utils.chat_template_utils import render_jinja_template

from .tokenizers_made_here import CHAT_TEMPLATE

TURNS = [
    {"role": "system", "content": 'Be <brief> & "kind".'},
    {"role": "user", "content": "日本?"},
    {"role": "assistant", "content": "Hm "},
]
TEMPLATES = {
    "chatml": CHAT_TEMPLATE,
    "blocks and loop variables": """{% for m in messages %}
    {% if loop.first %}{{ bos_token }}{% endif %}
  {{ loop.index }}/{{ loop.length }} {{ m.role | upper }}: {{ m['content'] | trim }}
{% endfor %}
{% if add_generation_prompt %}A:{% endif %}
""",
    "tojson, macros, namespaces, break": """{% macro show(m) %}{{ m | tojson(indent=2) }}{% endmacro %}
{%- set ns = namespace(count=0) -%}
{%- for m in messages %}{% if m.role == 'assistant' %}{% break %}{% endif %}{% set ns.count = ns.count + 1 %}
{{- show(m) }}{% endfor %}{{ ns.count * 2 }}{{ '-' * 3 }}""",
    "generation marks": "{% for m in messages %}{% generation %}{{ m.content }}{% endgeneration %}|{% endfor %}",
    "loop filters": "{% for m in messages if m.role != 'system' %}{{ m.content }};{% else %}none{% endfor %}",
    "slices": "{% for m in messages[1:] | reverse %}{{ m.content }}{% endfor %}{{ range(3) | list }}",
}


def theirs(source: str, messages: list[dict[str, str]], **options: Any) -> str:
    rendered, _ = render_jinja_template([messages], chat_template=source, bos_token="<s>", **options)
    text: str = rendered[0]
    return text


@pytest.mark.parametrize("source", TEMPLATES.values(), ids=TEMPLATES)
@pytest.mark.parametrize("begin", [False, True])
def test_renders_as_transformers_does(source: str, begin: bool) -> None:
    template = ChatTemplate(source, {"bos_token": "<s>"})
    assert template.render(TURNS, add_generation_prompt=begin) == theirs(source, TURNS, add_generation_prompt=begin)


@pytest.mark.parametrize("source", [TEMPLATES["chatml"], TEMPLATES["blocks and loop variables"]])
def test_continues_the_final_message_as_transformers_does(source: str) -> None:
    template = ChatTemplate(source, {"bos_token": "<s>"})
    ours = template.render(TURNS, add_generation_prompt=False, continue_final_message=True)
    assert ours == theirs(source, TURNS, continue_final_message=True)
    assert ours.endswith("Hm " if source == CHAT_TEMPLATE else "Hm")


def test_a_template_s_own_complaint_reaches_the_client() -> None:
    template = ChatTemplate("{{ raise_exception('roles must alternate') }}", {})
    with pytest.raises(TemplateError, match="roles must alternate"):
        template.render(TURNS, add_generation_prompt=True)


@pytest.mark.parametrize(
    "source",
    [
        "{% for m in messages %}{{ m.missing.deeper }}{% endfor %}",
        "{{ messages[0].content + 1 }}",
        "{% for a in 3 %}{% endfor %}",
        "{{ messages.__class__.__mro__ }}",
        "{{ messages.append(1) }}",
        "{{ ''.__class__.__base__.__subclasses__() }}",
    ],
)
def test_whatever_goes_wrong_inside_is_a_template_error(source: str) -> None:
    with pytest.raises(TemplateError):
        ChatTemplate(source, {}).render(TURNS, add_generation_prompt=True)


def test_a_template_that_is_not_jinja_is_refused_when_it_is_compiled() -> None:
    with pytest.raises(TemplateError, match="cannot be compiled"):
        ChatTemplate("{% for m in %}", {})


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("{% for a in range(10**9) %}{% endfor %}", "more than is allowed"),
        ("{% for a in range(1000000000) %}{% endfor %}", "range"),
        ("{% for a in range(90000) %}{% for b in range(90000) %}{% endfor %}{% endfor %}", "loops too often"),
        ("{% for a in range(90000) %}{{ messages }}{% endfor %}", "too long"),
        ("{{ 'x' * 1000000000 }}", "more than is allowed"),
        ("{% set ns = namespace(n=[0]) %}{{ ns.n * 1000000000 }}", "more than is allowed"),
        ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "nests too deeply"),
    ],
)
def test_a_runaway_template_is_stopped(source: str, why: str) -> None:
    template = ChatTemplate(source, {}, lambda: Budget(steps=100_000, characters=100_000))
    with pytest.raises(TemplateError, match=why):
        template.render(TURNS, add_generation_prompt=True)


def test_a_slow_template_is_stopped_by_the_clock() -> None:
    source = "{% for a in range(90000) %}{% for b in range(90000) %}{% endfor %}{% endfor %}"
    template = ChatTemplate(source, {}, lambda: Budget(steps=10**12, seconds=0.05))
    with pytest.raises(TemplateError, match=r"longer than 0\.05 s"):
        template.render(TURNS, add_generation_prompt=True)


def test_a_request_s_variables_cannot_lift_the_budget_or_replace_the_messages() -> None:
    template = ChatTemplate("{{ messages | length }}{{ mood }}", {})
    variables = {" budget": None, "messages": [], "add_generation_prompt": 7, "mood": "!"}
    assert template.render(TURNS, add_generation_prompt=True, variables=variables) == "3!"
