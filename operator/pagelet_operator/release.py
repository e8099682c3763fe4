"""Which images this release runs, where the user's file does not say."""

from importlib.metadata import version


def engine_image() -> str:
    return f"pagelet-engine:{version('pagelet')}"


def gateway_image() -> str:
    return f"pagelet-gateway:{version('pagelet')}"
