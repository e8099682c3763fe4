"""`python -m pagelet_engine.server`, as the rendered pods start it."""

import argparse
import os
import sys
from pathlib import Path

from fake_part import journal, serve


def waits_for(options: argparse.Namespace) -> str:
    assert Path(options.model, "config.json").exists()
    assert Path(options.config).exists()
    return "" if Path(os.environ["FAKE_ENGINE_READY"]).exists() else "loading weights"


if error := os.environ.get("FAKE_ENGINE_ERROR"):
    journal("engine failed")
    sys.exit(error)
serve("engine", waits_for)
