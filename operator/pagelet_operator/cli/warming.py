"""`pagelet warm`: compiles a service's kernels by the engine's own module, as a process of its own."""

import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from pagelet_api.names import CONFIG_FILE

from pagelet_operator.cli import CommandError
from pagelet_operator.cli.source import model_path, read_service, runs_on_cpu
from pagelet_operator.desired import Facts
from pagelet_operator.desired.engine_revision import engine_config
from pagelet_operator.release import engine_image, gateway_image


def warm(file: Path, name: str, *, targets: Sequence[str], cache: Path | None) -> int:
    """Returns the module's exit code; what went wrong, it has said itself."""
    service = read_service(file, name)
    if runs_on_cpu(service):
        raise CommandError(
            "the service runs on the cpu device, which has no kernels to compile; ask for a GPU in spec.resources, or "
            "set spec.engine.device"
        )
    arguments = ["--model", str(model_path(service))]
    for target in targets:
        arguments += ["--target", target]
    if cache is not None:
        arguments += ["--cache", str(cache)]
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder, CONFIG_FILE)
        config.write_text(engine_config(service, Facts(engine_image(), gateway_image())).to_json())
        return subprocess.call([sys.executable, "-m", "pagelet_engine.warm", *arguments, "--config", str(config)])
