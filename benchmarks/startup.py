"""How long is it from `pagelet up` to the first token, beside `import torch` alone?

Nothing that uses torch can be faster than importing it, so that is the yardstick: measured in the same run, in turns,
with files cached by a first turn that is not counted.
"""

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from client import WrongAnswer, measure
from local_server import MODEL, ServerFailed, check_model, pagelet_up, service
from report import machine, print_table, write_json
from tqdm import trange
from workload import Request, Workload, single


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=MODEL)
    parser.add_argument("--rounds", type=int, default=3, help="measured rounds, after one to fill the file cache")
    options = parser.parse_args()
    try:
        _compare(options)
    except (ServerFailed, WrongAnswer) as error:
        sys.exit(f"startup: {error}")


@dataclass(frozen=True, slots=True)
class Startup:
    """Seconds from exec, one a round."""

    import_torch_s: list[float] = field(default_factory=list)
    ready_s: list[float] = field(default_factory=list)
    first_token_s: list[float] = field(default_factory=list)

    @property
    def beyond_import_torch_s(self) -> float:
        """The median of what the first token takes more in the same round."""
        pairs = zip(self.first_token_s, self.import_torch_s, strict=True)
        return statistics.median(token - torch for token, torch in pairs)


def measure_startup(made: Mapping[str, Any], rounds: int) -> Startup:
    """Start this service `rounds` times, after one to fill the file cache. Raises ServerFailed and WrongAnswer."""
    startup = Startup()
    for number in trange(rounds + 1, unit="start", leave=False):
        import_s, (ready_s, token_s) = _import_torch_s(), _first_token_s(made)
        if number:
            startup.import_torch_s.append(import_s)
            startup.ready_s.append(ready_s)
            startup.first_token_s.append(token_s)
    return startup


def print_startup(startup: Startup) -> None:
    named = {
        "import torch": startup.import_torch_s,
        "pagelet up → ready": startup.ready_s,
        "pagelet up → first token": startup.first_token_s,
    }
    columns = ("from exec to", "median s", "spread s")
    rows = [
        (name, f"{statistics.median(series):.2f}", f"{min(series):.2f}-{max(series):.2f}")
        for name, series in named.items()
    ]
    print_table(columns, rows)
    print(f"\nfirst token after import torch: {startup.beyond_import_torch_s:+.2f} s (aim: at most +3)")


def _compare(options: argparse.Namespace) -> None:
    check_model(options.model)
    startup = measure_startup(service(options.model), options.rounds)
    facts = machine()
    print(f"\n{facts['processor']}, {facts['cores']} cores, medians of {options.rounds} rounds, files cached\n")
    print_startup(startup)
    path = write_json(
        "startup",
        "How long is it from pagelet up to the first token, beside import torch?",
        {"rounds": options.rounds, **asdict(startup), "beyond_import_torch_s": startup.beyond_import_torch_s},
        ("pagelet", "torch"),
    )
    print(f"\n{path}")


def _import_torch_s() -> float:
    began_s = time.monotonic()
    subprocess.run([sys.executable, "-c", "import torch"], check=True)
    return time.monotonic() - began_s


def _first_token_s(made: Mapping[str, Any]) -> tuple[float, float]:
    """(until it was ready, until a client had its first token)."""
    one_token = Workload("one token", (Request(single(0).requests[0].prompt[:16], 1),))
    with pagelet_up(made) as server:
        server.wait_until_ready()
        ready_s = time.monotonic() - server.started_s
        measure(server.url, server.model, one_token)
        return ready_s, time.monotonic() - server.started_s


if __name__ == "__main__":
    main()
