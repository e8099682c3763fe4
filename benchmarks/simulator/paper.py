"""The PagedAttention paper's own comparison (SOSP '23, section 6.2): OPT-13B on one A100 of 40 GB.

KV cache   12 GB (table 1) = 12 GiB ÷ (16 tokens × 2 × 40 layers × 5120 × 2 bytes) = 983 blocks, 15,728 slots
lengths    at most 2,048 tokens; ShareGPT and Alpaca, see traces.py
saturation a queue that does not empty: how full the cache is, how many run at once, how many are done a second
rates      Poisson arrivals for half an hour (ShareGPT) or five minutes (Alpaca); the highest rate at
           which the mean normalised latency is under a bound
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from simulator.hardware import A100_40GB, GIB, OPT_13B, CostModel
from simulator.measures import Journal
from simulator.search import Curve
from simulator.simulation import Replay, System, simulate
from simulator.systems import MAX, ORACLE, PAGELET, POW2, STATIC, SYSTEMS, build
from simulator.traces import ALPACA, SHAREGPT, Lengths, backlog, poisson
from tqdm import tqdm

COST = CostModel(A100_40GB, OPT_13B)
NUM_BLOCKS = COST.blocks_in(12 * GIB)
MAX_NUM_SEQS = 256
BOUNDS = (0.1, 0.25, 0.5, 1.0)
"""Seconds a token; 1.0 is where the axis of the paper's fig. 12 ends."""
MAIN_BOUND = 0.5
_LOW_RATES = (0.3, 0.6, 0.85)
"""For the curve's flat part, of the rate at the main bound."""


@dataclass(frozen=True, slots=True)
class Published:
    """What the paper says of one system (of vLLM, where it stands beside Pagelet) on one dataset."""

    sessions: float | None = None
    """Fig. 13: batched requests, at 2 requests a second of ShareGPT and 30 of Alpaca."""
    share_of_pool: float | None = None
    """Fig. 2: token states."""
    ratio: str = ""
    """Section 6.2: how many times its rate vLLM sustains at similar latencies, over all models."""


PUBLISHED = {
    SHAREGPT.name: {
        PAGELET: Published(30.42, 0.963),
        ORACLE: Published(13.62, 0.382, "1.7–2.7"),
        POW2: Published(9.81, 0.268),
        MAX: Published(7.00, 0.204, "2.7–8"),
        STATIC: Published(ratio="up to 22"),
    },
    ALPACA.name: {
        PAGELET: Published(132.44),
        ORACLE: Published(72.75),
        POW2: Published(43.24),
        MAX: Published(7.00),
        STATIC: Published(),
    },
}


@dataclass(frozen=True, slots=True)
class Dataset:
    lengths: Lengths
    backlog: int
    duration_s: float
    bounds: tuple[float, ...] = BOUNDS


@dataclass(frozen=True, slots=True)
class Found:
    """One system on one dataset."""

    system: str
    published: Published
    saturated: Journal
    rates: dict[float, float]
    """By bound: the highest rate that keeps it."""
    curve: list[tuple[float, float]]
    """(rate, mean normalised latency)."""


Results = dict[str, list[Found]]
"""By dataset."""


def datasets(quick: bool) -> list[Dataset]:
    if quick:
        return [Dataset(SHAREGPT, 500, 600.0, (MAIN_BOUND,))]
    return [Dataset(SHAREGPT, 2000, 1800.0), Dataset(ALPACA, 6000, 300.0)]


def run(quick: bool) -> Results:
    pairs = [(dataset, system) for dataset in datasets(quick) for system in SYSTEMS]
    results: Results = {}
    for dataset, system in tqdm(pairs, unit="system", leave=False):
        results.setdefault(dataset.lengths.name, []).append(_find(system, dataset))
    return results


def _find(system: str, dataset: Dataset) -> Found:
    lengths = dataset.lengths

    def latency(rate: float) -> float:
        arrivals = poisson(lengths, rate, dataset.duration_s)
        limit = dataset.bounds[-1] * len(arrivals)  # beyond it the mean is above every bound, whatever comes
        journal = simulate(_fresh(system), Replay(arrivals), COST, lambda found: found.latency_sum > limit)
        return journal.mean_latency

    saturated = simulate(_fresh(system), Replay(backlog(lengths, dataset.backlog)), COST)
    curve = Curve(latency)
    rates = {bound: curve.highest_rate(bound, saturated.requests_per_s) for bound in dataset.bounds}
    for share in _LOW_RATES:
        curve.at(share * rates[MAIN_BOUND])
    return Found(system, PUBLISHED[lengths.name][system], saturated, rates, curve.points)


def _fresh(system: str) -> System:
    return build(system, NUM_BLOCKS, SHAREGPT.max_length, MAX_NUM_SEQS)


# ---- for people and for files ----------------------------------------------------------------------------------------


def saturation_rows(found: list[Found]) -> Iterator[tuple[str, ...]]:
    for one in found:
        journal, published = one.saturated, one.published
        yield (
            one.system,
            f"{journal.utilisation:.1%}",
            f"{journal.share_of_pool:.1%}",
            f"{published.share_of_pool:.1%}" if published.share_of_pool else "",
            f"{journal.sessions:.1f}",
            f"{published.sessions:.1f}" if published.sessions else "",
            f"{journal.requests_per_s:.2f}",
            f"{journal.recomputed_tokens / journal.useful_tokens:.1%}",
        )


SATURATION_COLUMNS = (
    *("saturated", "live ÷ allocated", "live ÷ pool", "(paper)", "running", "(paper)"),
    *("req/s", "preempted ÷ useful"),
)


def rate_rows(found: list[Found]) -> Iterator[tuple[str, ...]]:
    first = found[0]
    for one in found:
        pairs = ((f"{rate:.2f}", f"{first.rates[bound] / rate:.2f}") for bound, rate in one.rates.items())
        yield one.system, *(cell for pair in pairs for cell in pair), one.published.ratio


def rate_columns(found: list[Found]) -> list[str]:
    return ["req/s", *(cell for bound in found[0].rates for cell in (f"≤ {bound:g} s/token", "ratio")), "(paper)"]


def as_json(results: Results) -> dict[str, Any]:
    return {name: [_one_as_json(one) for one in found] for name, found in results.items()}


def _one_as_json(one: Found) -> dict[str, Any]:
    journal = one.saturated
    return {
        "system": one.system,
        "kv_utilisation": journal.utilisation,
        "live_share_of_pool": journal.share_of_pool,
        "sessions": journal.sessions,
        "requests_per_s": journal.requests_per_s,
        "output_tokens_per_s": journal.output_tokens_per_s,
        "recomputed_tokens": journal.recomputed_tokens,
        "useful_tokens": journal.useful_tokens,
        "preemptions": journal.preemptions,
        "rate_at_bound": {str(bound): rate for bound, rate in one.rates.items()},
        "curve": [{"rate": rate, "latency_s_per_token": _finite(latency)} for rate, latency in one.curve],
    }


def _finite(latency: float) -> float | None:
    """JSON knows no infinity; None: more than the largest bound."""
    return latency if latency < float("inf") else None
