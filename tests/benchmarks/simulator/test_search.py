import pytest
from simulator.search import Curve


@pytest.mark.parametrize("start", [0.1, 2.9, 3.0, 50.0])
def test_finds_the_highest_rate_from_wherever_it_starts(start: float) -> None:
    curve = Curve(lambda rate: 1 / (4 - rate) if rate < 4 else float("inf"))
    rate = curve.highest_rate(1.0, start)
    assert 3.0 / 1.03 <= rate <= 3.0
    assert curve.at(rate) <= 1.0


def test_measures_each_rate_once() -> None:
    asked: list[float] = []

    def latency(rate: float) -> float:
        asked.append(rate)
        return rate

    curve = Curve(latency)
    curve.highest_rate(1.0, 1.5)
    curve.highest_rate(2.0, 1.5)
    assert len(asked) == len(set(asked)) == len(curve.points)
