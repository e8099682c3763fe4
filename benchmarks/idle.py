"""What does a service cost that nobody asks anything?

`pagelet up` with one engine and one gateway, probes on: the processor time of all its processes over a minute in which
no request comes, and how often each was woken.
"""

import argparse
import sys
import time
from pathlib import Path
from typing import Any

from local_server import MODEL, ServerFailed, check_model, pagelet_up, service
from process_clock import Used, children, program, used
from report import machine, print_table, write_json

SETTLE_S = 5.0
"""What starting leaves to be done is not the idle service's."""
AIM_PERCENT = 0.5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=MODEL)
    parser.add_argument("--seconds", type=float, default=60.0)
    options = parser.parse_args()
    try:
        _measure(options)
    except ServerFailed as error:
        sys.exit(f"idle: {error}")


def _measure(options: argparse.Namespace) -> None:
    check_model(options.model)
    with pagelet_up(service(options.model)) as server:
        server.wait_until_ready()
        time.sleep(SETTLE_S)
        before = _tree(server.local.process.pid)
        began_s = time.monotonic()
        time.sleep(options.seconds)
        after = _tree(server.local.process.pid)
        lasted_s = time.monotonic() - began_s
    if before.keys() != after.keys():
        raise ServerFailed(f"processes came or went while it was idle: {before.keys() ^ after.keys()}")
    _report({key: after[key] - before[key] for key in after}, lasted_s)


def _tree(root: int) -> dict[tuple[int, str], Used]:
    """What each process from `root` downwards has used, by its id and what it runs."""
    found = {(root, program(root)): used(root)}
    for child in children(root):
        found |= _tree(child)
    return found


def _report(idle: dict[tuple[int, str], Used], lasted_s: float) -> None:
    facts = machine()
    print(f"\n{facts['processor']}, {facts['cores']} cores, load {facts['load_average']:.1f}, {lasted_s:.0f} s idle\n")
    total = sum(of.cpu_s for of in idle.values()) / lasted_s * 100
    rows = [
        (program, f"{of.cpu_s / lasted_s * 100:.3f}", f"{of.wakeups / lasted_s:.1f}")
        for (_, program), of in idle.items()
    ]
    print_table(("process", "% of a core", "wake-ups a second"), [*rows, ("all", f"{total:.3f}", "")])
    print(f"\naim: less than {AIM_PERCENT} % in all")
    results: dict[str, Any] = {
        "seconds": lasted_s,
        "percent_of_a_core": total,
        "processes": [
            {"program": program, "cpu_s": of.cpu_s, "wakeups": of.wakeups} for (_, program), of in idle.items()
        ],
    }
    print(f"\n{write_json('idle', 'What does a service cost that nobody asks anything?', results, ('pagelet',))}")


if __name__ == "__main__":
    main()
