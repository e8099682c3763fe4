"""References and paths in commands, arguments and values."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pagelet_operator.local.expansion import expand, expand_environment, rewrite_paths


@pytest.mark.parametrize(
    ("text", "expanded"),
    [
        ("--port=$(PORT)", "--port=9000"),
        ("$(PORT)$(PORT)", "90009000"),
        ("$(UNKNOWN)", "$(UNKNOWN)"),
        ("$$(PORT)", "$(PORT)"),
        ("$$$(PORT)", "$9000"),
        ("$PORT ${PORT} $(PORT", "$PORT ${PORT} $(PORT"),
        ("100 $", "100 $"),
        ("", ""),
    ],
)
def test_references_follow_kubernetes_rules(text: str, expanded: str) -> None:
    assert expand(text, {"PORT": "9000"}) == expanded


def test_a_variable_may_refer_to_the_ones_before_it_only() -> None:
    entries = [("A", "$(B)"), ("B", "x"), ("C", "$(B)/$(A)")]
    assert expand_environment(entries) == {"A": "$(B)", "B": "x", "C": "x/$(B)"}


@pytest.mark.parametrize(
    ("text", "rewritten"),
    [
        ("/mnt/model", "/home/me/model"),
        ("--model=/mnt/model/config.json", "--model=/home/me/model/config.json"),
        ("/mnt/models", "/mnt/models"),
        ("/other/mnt/model", "/other/mnt/model"),
        ("/mnt/model-2", "/mnt/model-2"),
        ("/mnt/model:/mnt/model/lora", "/home/me/model:/home/me/lora"),
    ],
)
def test_only_whole_mount_paths_are_rewritten_the_longest_first(text: str, rewritten: str) -> None:
    folders = {"/mnt/model": "/home/me/model", "/mnt/model/lora": "/home/me/lora"}
    assert rewrite_paths(text, folders) == rewritten


def test_a_folder_that_lies_under_another_mount_is_not_rewritten_again() -> None:
    assert rewrite_paths("/mnt/model", {"/mnt/model": "/tmp/m", "/tmp": "/state/tmp"}) == "/tmp/m"


@given(st.text(), st.dictionaries(st.text(min_size=1), st.text()))
def test_text_without_references_stays_as_it_is(text: str, environment: dict[str, str]) -> None:
    plain = text.replace("$", "")
    assert expand(plain, environment) == plain
