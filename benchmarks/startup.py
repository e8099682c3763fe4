"""How long is it from `pagelet up` to the first token, beside `import torch` alone?

Nothing that uses torch can be faster than importing it, so that is the yardstick: measured in the same run, in turns,
with files cached by a first turn that is not counted.
"""

import argparse
import statistics
import subprocess
import sys
import time
from pathlib import Path

from client import WrongAnswer, measure
from report import machine, print_table, write_json
from server import MODEL, ServerFailed, check_model, pagelet_up, service
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


def _compare(options: argparse.Namespace) -> None:
    check_model(options.model)
    imports_s, ready_s, tokens_s = [], [], []
    for number in trange(options.rounds + 1, unit="round", leave=False):
        figures = (_import_torch_s(), *_first_token_s(options.model))
        if number:
            for series, figure in zip((imports_s, ready_s, tokens_s), figures, strict=True):
                series.append(figure)

    facts = machine()
    print(f"\n{facts['processor']}, {facts['cores']} cores, medians of {options.rounds} rounds, files cached\n")
    named = {"import torch": imports_s, "pagelet up → ready": ready_s, "pagelet up → first token": tokens_s}
    columns = ("from exec to", "median s", "spread s")
    rows = [
        (name, f"{statistics.median(series):.2f}", f"{min(series):.2f}-{max(series):.2f}")
        for name, series in named.items()
    ]
    print_table(columns, rows)
    beyond_s = statistics.median(token - torch for token, torch in zip(tokens_s, imports_s, strict=True))
    print(f"\nfirst token after import torch: {beyond_s:+.2f} s (aim: at most +3)")
    path = write_json(
        "startup",
        "How long is it from pagelet up to the first token, beside import torch?",
        {
            "rounds": options.rounds,
            "import_torch_s": imports_s,
            "ready_s": ready_s,
            "first_token_s": tokens_s,
            "beyond_import_torch_s": beyond_s,
        },
        ("pagelet", "torch"),
    )
    print(f"\n{path}")


def _import_torch_s() -> float:
    began_s = time.monotonic()
    subprocess.run([sys.executable, "-c", "import torch"], check=True)
    return time.monotonic() - began_s


def _first_token_s(model: Path) -> tuple[float, float]:
    """(until it was ready, until a client had its first token)."""
    one_token = Workload("one token", (Request(single(0).requests[0].prompt[:16], 1),))
    with pagelet_up(service(model)) as server:
        server.wait_until_ready()
        ready_s = time.monotonic() - server.started_s
        measure(server.url, server.model, one_token)
        return ready_s, time.monotonic() - server.started_s


if __name__ == "__main__":
    main()
