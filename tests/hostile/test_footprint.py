"""What the soak makes of its samples."""

from pathlib import Path

from .footprint import MIB, Footprint, read_samples, trends, write_sample


def sampled(folder: Path, *mib: int) -> list[tuple[float, dict[str, Footprint]]]:
    """One reading every six minutes."""
    path = folder / "samples"
    for number, size in enumerate(mib):
        write_sample(path, number * 360.0, {"gateway": Footprint(1, size * MIB, size * MIB, 20, 9)})
    return read_samples(path)


def test_memory_that_grows_slowly_is_within_its_bound_and_what_grows_fast_is_not(tmp_path: Path) -> None:
    flat, steep = tmp_path / "flat", tmp_path / "steep"
    for folder in (flat, steep):
        folder.mkdir()
    assert trends(sampled(flat, *range(100, 110)))["gateway"]["pss_bytes"].within_bound
    found = trends(sampled(steep, *range(100, 200, 10)))["gateway"]["pss_bytes"]
    assert not found.within_bound
    assert (found.first / MIB, found.last / MIB, round(found.per_hour / MIB)) == (110, 190, 100)


def test_a_program_that_came_later_counts_from_nothing(tmp_path: Path) -> None:
    samples = sampled(tmp_path, *[100] * 8)
    samples[-1][1]["worker"] = samples[-2][1]["worker"] = Footprint(1, 100 * MIB, 100 * MIB, 40, 9)
    assert not trends(samples)["worker"]["fds"].within_bound
