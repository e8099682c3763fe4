"""The figures as a person reads them."""

from collections.abc import Mapping, Sequence

from cpu.agreement import Agreement
from cpu.footprint import Beyond
from cpu.limits import Limits
from cpu.processes import Memory
from cpu.summary import Limit, Result, Spread
from report import print_table

_MB = 1e6


def print_limits(limits: Limits, weight_bytes: int) -> None:
    dots = ", ".join(f"{name} {rate / 1e9:,.0f}" for name, rate in limits.flops_per_s.items())
    print(f"\ndot products, GFLOP/s: {dots}")
    print(f"memory reads, GB/s: {limits.dram_bytes_per_s / 1e9:.1f} from DRAM")
    print(
        f"                    {limits.weights_bytes_per_s / 1e9:.1f} over {weight_bytes / _MB:.0f} MB again and again"
    )
    print(
        "limit: the floor of each step is the larger of its FLOPs over the dot-product rate and its bytes over the\n"
        "DRAM bandwidth, summed over the real steps"
    )


def print_allowed(allowed: Mapping[str, Mapping[str, Limit]]) -> None:
    columns = ("limit of", "dot products", "tok/s", "first ms")
    rows = [
        (name, dot, f"{limit.tokens_per_s:.1f}", f"{limit.first_token_s * 1e3:.0f}")
        for name, dots in allowed.items()
        for dot, limit in dots.items()
    ]
    print()
    print_table(columns, rows)


def print_results(results: Sequence[Result], dots: Sequence[str]) -> None:
    first = results[0].server
    columns = ("work", "server", "tok/s", "spread", "of limit", "first ms", "spread", "gap ms", f"{first} is", "first")
    rows = [
        (
            result.workload,
            result.server,
            f"{result.tokens_per_s.median:.1f}",
            _range(result.tokens_per_s, "{:.1f}"),
            " / ".join(f"{result.shares[dot]:.0%}" for dot in dots if dot in result.shares),
            f"{result.first_token_s.median * 1e3:.0f}",
            _range(result.first_token_s, "{:.0f}", 1e3),
            f"{result.longest_gap_s.median * 1e3:.0f}",
            _ratio(result.ratio),
            _ratio(result.first_token_ratio),
        )
        for result in results
    ]
    print()
    print_table(columns, rows)
    print(
        f"\ntok/s: of one stream after its first token; else all tokens over the time of the whole. of limit: with\n"
        f"{' / '.join(dots)} dot products. first ms: to the first token, median over the requests. gap ms: the\n"
        f"longest that any stream stood still. {first} is: how many times as fast as that server, in turns of one\n"
        "round (spread); first: how many times as soon its first token comes."
    )
    for result in results:
        if result.wrong_lengths:
            print(f"WRONG LENGTHS: {result.server}, {result.workload}: {result.wrong_lengths} answers")


def print_processor_time(results: Sequence[Result]) -> None:
    columns = ("processor seconds of a turn", "server", "its own", "the client's", "the other servers'")
    rows = [
        (
            result.workload,
            result.server,
            f"{result.server_cpu_s.median:.2f}" if result.server_cpu_s else "?",
            f"{result.client_cpu_s.median:.3f}",
            f"{result.others_cpu_s.median:.2f}",
        )
        for result in results
    ]
    print()
    print_table(columns, rows)


def print_memory(memory: Mapping[str, Memory], cores: Mapping[str, float], idle_s: float) -> None:
    columns = ("after the work", "private MB", "mapped files MB", f"% of a core idle over {idle_s:.0f} s")
    rows = [
        (
            name,
            f"{taken.private_bytes / _MB:.0f}",
            f"{taken.file_bytes / _MB:.0f}",
            f"{cores[name]:.2%}" if name in cores else "-",
        )
        for name, taken in memory.items()
    ]
    print()
    print_table(columns, rows)


def print_beyond(beyond: Beyond) -> None:
    full = "all its blocks were in use" if beyond.pool_is_full else "only the blocks that were in use are taken off"
    print(
        f"\nPagelet beyond weights and pool: {beyond.beyond_bytes / _MB:.0f} MB"
        f" = private {beyond.private_bytes / _MB:.0f} + mapped weights {beyond.mapped_weights_bytes / _MB:.0f}"
        f" - weights {beyond.weight_bytes / _MB:.0f} - pool {beyond.pool_bytes / _MB:.0f} ({full}); aim: below 600"
    )


def print_agreement(agreements: Sequence[Agreement]) -> None:
    columns = ("greedy, beside fp32", "agreeing tokens", "same to the end", "near ties", "fp32 gaps where not")
    rows = [
        (
            agreement.server,
            f"{agreement.agreeing}/{agreement.total}",
            f"{agreement.exact}/{agreement.prompts}",
            f"{agreement.near_ties}/{len(agreement.gaps)}",
            " ".join("?" if gap is None else f"{gap:.3f}" for gap in agreement.gaps),
        )
        for agreement in agreements
    ]
    print()
    print_table(columns, rows)


def _range(spread: Spread, form: str, scale: float = 1.0) -> str:
    return f"{form.format(spread.lowest * scale)}-{form.format(spread.highest * scale)}"


def _ratio(spread: Spread | None) -> str:
    return f"{spread.median:.2f}x ({_range(spread, '{:.2f}')})" if spread else ""
