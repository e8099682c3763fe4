"""How near does Pagelet come to what a GPU can do? Kernels, a decode step of 8B parameters, a load of many requests
beside transformers, and the way to the first token.

Needs a GPU and nothing else: weights and prompts are random. Ends within nine minutes; what does not fit is cut, and
the report says so. --tiny runs every path of it on a CPU, with tiny shapes: its figures say nothing.
"""

import argparse
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from gpu import tables
from gpu.parts import PARTS, Found, run_part, run_parts
from report import write_json

QUESTION = "How near does Pagelet come to what a GPU can do?"


def main() -> None:
    options = _parser().parse_args()
    if not options.tiny and not torch.cuda.is_available():
        sys.exit("benchmarks/gpu: wanted a GPU, found none that torch can use; --tiny shows on a CPU that it runs")
    if options.part:
        with options.records.open("w") as records:
            sys.exit(run_part(options.part, options.until_s, options.tiny, records))
    kept_s = {name: PARTS[name].seconds for name in options.parts if PARTS[name].on_cpu or not options.tiny}
    sys.exit(_report(run_parts(kept_s, options.tiny, _say_started), options.tiny))


def _say_started(name: str, limit_s: float) -> None:
    print(f"{name}: {limit_s:.0f} s at most …", file=sys.stderr, flush=True)


def _report(found: dict[str, Found], tiny: bool) -> int:
    """The exit code: 1 if a part has failed."""
    gpu = {} if tiny else _gpu()
    print(f"\n{gpu['name']}, driver {gpu['driver']}, torch {torch.__version__}" if gpu else "\nA TINY RUN, NO FIGURES")
    tables.print_all(found)
    path = write_json(
        "gpu_tiny" if tiny else "gpu",
        QUESTION,
        {"gpu": gpu, "tiny": tiny, "parts": {name: asdict(each) for name, each in found.items()}},
        ("pagelet", "torch", "triton", "transformers"),
    )
    print(f"\n{path}")
    return int(any(each.failure for each in found.values()))


def _gpu() -> dict[str, Any]:
    properties = torch.cuda.get_device_properties(0)
    return {
        "name": properties.name,
        "memory_bytes": properties.total_memory,
        "multiprocessors": properties.multi_processor_count,
        "driver": _driver(),
        "runtime": torch.version.cuda or torch.version.hip,
    }


def _driver() -> str:
    """As the vendor's tool says it; empty without one."""
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader", "--id=0"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS), help="these alone")
    parser.add_argument("--tiny", action="store_true", help="on a CPU, to see that it runs")
    # How it starts itself, once a part.
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)
    parser.add_argument("--until-s", type=float, help=argparse.SUPPRESS)
    parser.add_argument("--records", type=Path, help=argparse.SUPPRESS)
    return parser
