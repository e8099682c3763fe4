"""Pictures of what was found, as SVG files in a folder."""

import re
from pathlib import Path

from simulator import paper, sessions
from simulator.svg import bar_chart, line_chart


def draw_paper(folder: Path, results: paper.Results) -> None:
    used = {name: {one.system: 100 * one.saturated.utilisation for one in found} for name, found in results.items()}
    title = "KV cache: slots with live tokens of those allocated, saturated"
    _write(folder, "kv-utilisation", bar_chart(title, "%", used, 105))
    for name, found in results.items():
        lines = {one.system: [point for point in one.curve if point[1] < float("inf")] for one in found}
        title = f"OPT-13B, A100 40 GB, {name}: latency over request rate"
        chart = line_chart(title, "requests a second", "mean normalised latency, s/token", lines, paper.BOUNDS[-1])
        _write(folder, f"throughput-latency-{name}", chart)


def draw_sessions(folder: Path, results: sessions.Results) -> None:
    running = {
        f"{found[0].setting.cost.model.name}, {found[0].setting.lengths.name}": {
            one.system: one.saturated.sessions for one in found
        }
        for found in results.values()
    }
    top = 1.1 * max(number for bars in running.values() for number in bars.values())
    gpus = dict.fromkeys(f"{setting.cost.model.name} on {setting.cost.gpu.name}" for setting in sessions.SETTINGS)
    title = f"Requests that run at once: {', '.join(gpus)}"
    _write(folder, "sessions", bar_chart(title, "", running, top))


def _write(folder: Path, name: str, chart: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{re.sub('[^a-z0-9]+', '-', name.lower())}.svg").write_text(chart)
