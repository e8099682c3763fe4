"""Flags and environment variables say the same; nonsense ends the program with a sentence."""

import pytest
from pagelet_operator.logs import LogFormat
from pagelet_operator.settings import parse_settings


def test_every_setting_has_a_default() -> None:
    settings = parse_settings([], {})
    assert settings.namespaces == ()
    assert settings.ops_port == 8080
    assert settings.release.engine_image.startswith("pagelet-engine:")


def test_flags_and_environment_say_the_same_and_flags_win() -> None:
    environment = {
        "PAGELET_ENGINE_IMAGE": "e@sha256:1",
        "PAGELET_NAMESPACES": "a, b,a",
        "PAGELET_OPS_PORT": "9",
        "PAGELET_LOG_FORMAT": "text",
    }
    settings = parse_settings([], environment)
    assert settings.release.engine_image == "e@sha256:1"
    assert settings.namespaces == ("a", "b")
    assert settings.log_format is LogFormat.TEXT
    flags = ["--engine-image", "f", "--namespace", "c", "--namespace", "d", "--ops-port", "10"]
    settings = parse_settings(flags, environment)
    assert (settings.release.engine_image, settings.namespaces, settings.ops_port) == ("f", ("c", "d"), 10)


@pytest.mark.parametrize(
    "flags", [["--ops-port", "x"], ["--ops-port", "70000"], ["--workers", "0"], ["--log-format", "xml"]]
)
def test_nonsense_is_refused(flags: list[str]) -> None:
    with pytest.raises(SystemExit):
        parse_settings(flags, {})


def test_two_processes_have_two_names() -> None:
    assert parse_settings([], {}).identity != parse_settings([], {}).identity
