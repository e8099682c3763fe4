"""Lines of progress, with a clock of the test's own."""

from pagelet_engine.weights.progress import LINE_EVERY_S, LoadProgress


def test_a_slow_load_says_how_far_it_is_now_and_then_and_a_quick_one_nothing():
    now_s, lines = 100.0, []
    progress = LoadProgress(10_000_000_000, lambda: now_s, lines.append)
    progress.advance(1_000_000_000)
    assert lines == []
    now_s += LINE_EVERY_S
    progress.advance(1_000_000_000)
    progress.advance(1_000_000_000)
    assert lines == ["pagelet engine: loading weights, 2.0 of 10.0 GB, 0.40 GB/s"]
