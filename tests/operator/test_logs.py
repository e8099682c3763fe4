"""Log lines are one JSON object each, or text."""

import json
import logging

from pagelet_operator.logs import JsonLines, Sparse, TextLines


def record(**extra: object) -> logging.LogRecord:
    return logging.makeLogRecord(
        {"name": "x", "levelno": 20, "levelname": "INFO", "msg": "wrote %s", "args": ("a",), **extra}
    )


def test_a_line_is_one_json_object_with_everything_that_was_said() -> None:
    line = json.loads(JsonLines().format(record(key="team/chat", action="apply")))
    assert line["message"] == "wrote a"
    assert (line["key"], line["action"], line["level"]) == ("team/chat", "apply", "info")


def test_text_has_the_same_words() -> None:
    assert TextLines().format(record(key="team/chat")).endswith("INFO wrote a key=team/chat")


def test_an_exception_stays_on_its_line() -> None:
    try:
        raise ValueError("no")
    except ValueError as error:
        text = JsonLines().format(record(exc_info=(type(error), error, error.__traceback__)))
    assert "\n" not in text
    assert "ValueError: no" in json.loads(text)["error"]


def test_who_repeats_himself_is_heard_once_in_a_while() -> None:
    now_s = [0.0]
    sparse = Sparse(30, lambda: now_s[0])
    heard = []
    for now_s[0] in (0, 1, 29, 30, 31):
        heard.append(sparse.filter(record()))
    assert heard == [True, False, False, True, False]
