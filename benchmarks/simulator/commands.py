"""How much does paging gain? The real scheduler beside the PagedAttention paper's baselines, at virtual time.

A cost model of a GPU moves the clock, so the figures are the same on every machine. Parts: `paper` (its comparison on
OPT-13B: cache utilisation, latency over rate), `sessions` (chats at once on newer models), `pressure` (swap or
recompute) and `tenants` (fair share).
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from report import print_table, write_json
from simulator import paper, plots, pressure, sessions, tenants

QUESTION = "How much does paging gain, at the costs of a GPU?"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", nargs="*", help=f"of {', '.join(PARTS)}; none: {' '.join(_USUAL)}")
    parser.add_argument("--quick", action="store_true", help="shorter traces, one bound, no Alpaca: a minute or two")
    parser.add_argument("--plots", type=Path, metavar="FOLDER", help="draw SVG files there")
    options = parser.parse_args()
    wanted = options.part or _USUAL
    if unknown := [part for part in wanted if part not in PARTS]:
        parser.error(f"wanted parts of {', '.join(PARTS)}, found {', '.join(unknown)}")
    for part in wanted:
        results = PARTS[part](options.quick, options.plots)
        print(
            "\n", write_json(f"simulator-{part}", QUESTION, {"quick": options.quick, **results}, ("pagelet",)), sep=""
        )


def _paper(quick: bool, folder: Path | None) -> dict[str, Any]:
    results = paper.run(quick)
    for name, found in results.items():
        print(f"\nOPT-13B on an A100 40 GB, {paper.NUM_BLOCKS} blocks of 16 tokens, lengths of {name}\n")
        print_table(paper.SATURATION_COLUMNS, list(paper.saturation_rows(found)))
        print()
        print_table(paper.rate_columns(found), list(paper.rate_rows(found)))
    if folder:
        plots.draw_paper(folder, results)
    return paper.as_json(results)


def _sessions(quick: bool, folder: Path | None) -> dict[str, Any]:
    results = sessions.run(quick)
    for name, found in results.items():
        print(f"\n{name}: {sessions.pools()[name]:,} token slots\n")
        print_table(sessions.COLUMNS, list(sessions.rows(found)))
    if folder:
        plots.draw_sessions(folder, results)
    return sessions.as_json(results)


def _pressure(quick: bool, folder: Path | None) -> dict[str, Any]:
    results = pressure.run(quick)
    print()
    print_table(pressure.COLUMNS, list(pressure.rows(results)))
    return pressure.as_json(results)


def _tenants(quick: bool, folder: Path | None) -> dict[str, Any]:
    results = tenants.run(quick)
    print()
    print_table(tenants.COLUMNS, list(tenants.rows(results)))
    return tenants.as_json(results)


PARTS: dict[str, Callable[[bool, Path | None], dict[str, Any]]] = {
    "paper": _paper,
    "sessions": _sessions,
    "pressure": _pressure,
    "tenants": _tenants,
}
_USUAL = ["paper", "sessions"]
