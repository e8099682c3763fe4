"""How much faster is Pagelet than Hugging Face `generate`, one request at a time?

Same weights, same type, same machine, same run: the two take turns on every workload, over several rounds, and medians
are compared. Pagelet is asked over HTTP with streaming, through its gateway; Hugging Face is called in this process.
Hugging Face computes a stated subset of the larger workloads: one request at a time, its speed does not depend on how
many wait.
"""

import argparse
import statistics
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

from client import Measured, WrongAnswer, measure
from hugging_face import HuggingFace
from local_server import MODEL, ServerFailed, check_model, pagelet_up, service
from report import machine, print_table, write_json
from tqdm import tqdm
from workload import Workload, mixed, shared_prefix, single

WORKLOADS = {"single": single, "mixed": mixed, "prefix": shared_prefix}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=MODEL, help="model folder of both")
    parser.add_argument("--dtype", choices=("bfloat16", "float32"), default="bfloat16")
    parser.add_argument("--rounds", type=int, default=3, help="measured rounds, after a short one to warm up")
    parser.add_argument("--workloads", nargs="+", choices=WORKLOADS, default=list(WORKLOADS))
    parser.add_argument("--hf-requests", type=int, default=4, help="requests of a workload that Hugging Face computes")
    parser.add_argument("--url", help="measure this running server instead of starting one")
    parser.add_argument("--served-name", default="benchmark", help="the model's name there")
    options = parser.parse_args()
    try:
        _compare(options)
    except (ServerFailed, WrongAnswer) as error:
        sys.exit(f"hf_generate: {error}")


def _compare(options: argparse.Namespace) -> None:
    check_model(options.model)
    with ExitStack() as stack:
        url, name = options.url, options.served_name
        if not url:
            server = stack.enter_context(pagelet_up(service(options.model, dtype=options.dtype)))
            url, name = server.url, server.model
        peer = HuggingFace(options.model, options.dtype)
        if not options.url:
            server.wait_until_ready()
        results = _rounds(url, name, peer, options.workloads, options.rounds, options.hf_requests)
    _print(results, options)
    path = write_json(
        "hf_generate",
        "How much faster is Pagelet than Hugging Face generate, one request at a time?",
        {"dtype": options.dtype, "rounds": options.rounds, "workloads": results},
        ("pagelet", "torch", "transformers"),
    )
    print(f"\n{path}")


def _rounds(
    url: str, name: str, peer: HuggingFace, workloads: Sequence[str], rounds: int, hf_requests: int
) -> dict[str, Any]:
    """Medians of both by workload."""
    _warm_up(url, name, peer)
    runs: dict[str, list[tuple[Workload, Workload, Measured, Measured]]] = {title: [] for title in workloads}
    with tqdm(total=rounds * len(workloads) * 2, unit="run", leave=False) as bar:
        for number in range(1, rounds + 1):
            for title in workloads:
                whole = WORKLOADS[title](number)
                subset = whole.subset(hf_requests)
                bar.set_description(f"round {number}, {title}, Pagelet")
                ours = measure(url, name, whole)
                bar.update()
                bar.set_description(f"round {number}, {title}, Hugging Face")
                theirs = peer.measure(subset)
                bar.update()
                runs[title].append((whole, subset, ours, theirs))
    return {title: _summary(of_title) for title, of_title in runs.items()}


def _warm_up(url: str, name: str, peer: HuggingFace) -> None:
    measure(url, name, mixed(0).subset(8))
    peer.measure(single(0))


def _summary(runs: Sequence[tuple[Workload, Workload, Measured, Measured]]) -> dict[str, Any]:
    whole, subset = runs[0][0], runs[0][1]
    ours, theirs = [run[2] for run in runs], [run[3] for run in runs]
    speed = "decode_tokens_per_s" if len(whole.requests) == 1 else "output_tokens_per_s"
    ratios = [getattr(our, speed) / getattr(their, speed) for our, their in zip(ours, theirs, strict=True)]
    return {
        "requests": len(whole.requests),
        "prompt_tokens": whole.prompt_tokens,
        "output_tokens": whole.output_tokens,
        "compared": speed,
        "ratio": statistics.median(ratios),
        "ratios": ratios,
        "pagelet": {**_medians(ours), "requests": len(whole.requests)},
        "hugging_face": {
            **_medians(theirs),
            "requests": len(subset.requests),
            "prompt_tokens": subset.prompt_tokens,
            "output_tokens": subset.output_tokens,
        },
        "timings": [
            {"pagelet": asdict(our), "hugging_face": asdict(their)} for our, their in zip(ours, theirs, strict=True)
        ],
    }


def _medians(runs: Sequence[Measured]) -> dict[str, float]:
    figures = ("wall_s", "cpu_s", "output_tokens_per_s", "decode_tokens_per_s", "first_token_s")
    return {figure: statistics.median(getattr(run, figure) for run in runs) for figure in figures}


def _print(results: dict[str, Any], options: argparse.Namespace) -> None:
    facts = machine()
    print(f"\n{facts['processor']}, {facts['cores']} cores, {options.dtype}, medians of {options.rounds} rounds\n")
    columns = ("workload", "Pagelet tok/s", "HF tok/s", "ratio", "spread", "Pagelet first ms", "HF first ms", "HF on")
    rows = []
    for title, result in results.items():
        ours, theirs, speed = result["pagelet"], result["hugging_face"], result["compared"]
        rows.append(
            (
                title,
                f"{ours[speed]:.1f}",
                f"{theirs[speed]:.1f}",
                f"{result['ratio']:.1f}x",
                f"{min(result['ratios']):.1f}-{max(result['ratios']):.1f}",
                f"{ours['first_token_s'] * 1e3:.0f}",
                f"{theirs['first_token_s'] * 1e3:.0f}",
                f"{theirs['requests']} of {result['requests']}",
            )
        )
    print_table(columns, rows)
    print("\nsingle: after the first token, one stream. Others: all output tokens over the time of the whole workload.")


if __name__ == "__main__":
    main()
