from xml.etree import ElementTree

from simulator.svg import bar_chart, line_chart


def test_charts_are_well_formed_and_name_everything() -> None:
    lines = line_chart("A < B", "rate", "latency", {"one": [(0.5, 0.1), (2.0, 30.0)], "two": [(1.0, 0.2)]}, 1.0)
    bars = bar_chart("Use", "%", {"x": {"one": 98.0, "two": 20.5}, "y": {"one": 90.0}}, 105)
    for chart, words in ((lines, ["A < B", "rate", "latency", "one", "two"]), (bars, ["Use", "x", "y", "20.5"])):
        texts = ["".join(element.itertext()) for element in ElementTree.fromstring(chart).iter()]
        assert set(words) <= set(texts)
