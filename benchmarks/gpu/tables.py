"""The figures as a person reads them, with what they aim at on an H100."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from gpu.parts import Found
from report import print_table

Record = Mapping[str, Any]


def print_all(found: Mapping[str, Found]) -> None:
    for name, part in found.items():
        print(f"\n{name}, {part.seconds:.0f} s")
        if part.records:
            _PRINT[name](part.records)
        if part.was_cut:
            print(f"CUT after {part.limit_s:.0f} s: what is missing here was not measured")
        if part.failure:
            print(f"FAILED:\n{part.failure}")
    print_ratio(*(found[name].records if name in found else [] for name in ("throughput", "transformers")))


def print_kernels(records: Sequence[Record]) -> None:
    columns = ("op", "shape", "µs", "share", "of", "others take")
    rows = [
        (
            record["op"],
            record["case"],
            f"{record['seconds'] * 1e6:.1f}",
            f"{record['share']:.0%}",
            record["limit"],
            ", ".join(f"{name} {seconds / record['seconds']:.2f}x" for name, seconds in record["beside"].items()),
        )
        for record in records
    ]
    print_table(columns, rows)


def print_attention(records: Sequence[Record]) -> None:
    print_kernels(records)
    print(
        "aims: decode ≥ 85 % of the bandwidth at batch ≥ 32 and context ≥ 4096; prompts of 4096 to 16384: sdpa takes\n"
        "≥ 0.90x of our time"
    )


def print_decode_steps(records: Sequence[Record]) -> None:
    columns = ("shape", "weights", "batch", "context", "ms", "tok/s", "of roofline", "gap µs", "gap", "late", "steps")
    rows = [
        (
            record["shape"],
            record["weights"],
            str(record["batch"]),
            str(record["context"]),
            f"{record['step_s'] * 1e3:.2f}",
            f"{record['tokens_per_s']:.0f}",
            f"{record['roofline_share']:.0%}",
            f"{record['gap_s'] * 1e6:.0f}",
            f"{record['gap_share']:.1%}",
            str(record["late_steps"]),
            str(record["steps"]),
        )
        for record in records
    ]
    print_table(columns, rows)
    print(
        "of roofline: (weights + keys and values) over the memory's bandwidth, or FLOPs over the peak where that is\n"
        f"more ({records[0]['peaks']}). gap: the device idle between two steps, of their time. late: steps whose last\n"
        "launch came after the step before had ended. aims: ≥ 70 % of the roofline at batch 32; gap < 5 %"
    )


def print_throughput(records: Sequence[Record]) -> None:
    columns = ("engine", "attention", "tok/s", "of roofline", "gap", "output tokens", "seconds", "requests ended")
    rows = [
        (
            record["engine"],
            record["attention"],
            f"{record['tokens_per_s']:.0f}",
            _percent(record.get("roofline_share")),
            _percent(record.get("gap_share")),
            str(record["output_tokens"]),
            f"{record['seconds']:.1f}",
            f"{record['ended']} of {record['requests']}",
        )
        for record in records
    ]
    print_table(columns, rows)
    if any(record["ended"] < record["requests"] for record in records):
        print("its time was over before all requests had ended: tok/s is of what was there by then")


def print_starts(records: Sequence[Record]) -> None:
    phases = [name for name in records[0] if name != "cache"]
    columns = ("Triton cache", *(f"{name.removesuffix('_s').replace('_', ' ')} s" for name in phases))
    print_table(columns, [(record["cache"], *(f"{record[phase]:.2f}" for phase in phases)) for record in records])


def print_ratio(ours: Sequence[Record], theirs: Sequence[Record]) -> None:
    if not ours:
        return
    print(f"\nthroughput: {ours[0]['roofline_share']:.0%} of its roofline (aim: ≥ 50 %)")
    if not theirs:
        return
    ratio = ours[0]["tokens_per_s"] / theirs[0]["tokens_per_s"]
    pairs = [pair for pair in zip(ours[0]["first_tokens"], theirs[0]["first_tokens"], strict=True) if None not in pair]
    print(
        f"{ratio:.1f}x transformers with {theirs[0]['attention']} (aim: ≥ 5x); the same first token in "
        f"{sum(one == other for one, other in pairs)} of {len(pairs)} requests that have one in both"
    )


def _percent(share: float | None) -> str:
    return "" if share is None else f"{share:.0%}"


_PRINT: dict[str, Callable[[Sequence[Record]], None]] = {
    "decode-step": print_decode_steps,
    "throughput": print_throughput,
    "transformers": print_throughput,
    "attention": print_attention,
    "startup": print_starts,
    "decode-step-fp8": print_decode_steps,
    "other-kernels": print_kernels,
}
