"""`pagelet import`: hands its arguments to the importer, which belongs to the engine, as a process of its own."""

import subprocess
import sys


def import_model(arguments: list[str]) -> int:
    command = [sys.executable, "-m", "pagelet_engine.importer", *arguments]
    with subprocess.Popen(command) as importer:
        while True:
            try:
                return importer.wait()
            except KeyboardInterrupt:
                # The terminal has told the importer too; it cleans up and ends.
                continue
