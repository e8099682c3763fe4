"""Cores that a container may use."""

import os

import pytest
from pagelet_engine.cgroup import Cgroup
from pagelet_engine.worker.threads import usable_cores

MINE = len(os.sched_getaffinity(0))


def test_without_a_quota_all_cores_of_the_affinity_are_used(tmp_path):
    assert usable_cores(Cgroup(tmp_path)) == MINE


@pytest.mark.parametrize(
    ("text", "cores"),
    [
        ("max 100000", MINE),
        ("100000 100000", 1),
        ("150000 100000", min(2, MINE)),
        ("1000 100000", 1),
        ("nonsense", MINE),
    ],
)
def test_a_quota_of_cgroup_v2_is_rounded_up(tmp_path, text, cores):
    (tmp_path / "cpu.max").write_text(f"{text}\n")
    assert usable_cores(Cgroup(tmp_path)) == cores


@pytest.mark.parametrize(("quota", "cores"), [("-1", MINE), ("50000", 1)])
def test_a_quota_of_cgroup_v1_is_read_too(tmp_path, quota, cores):
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text(f"{quota}\n")
    (tmp_path / "cpu" / "cpu.cfs_period_us").write_text("100000\n")
    assert usable_cores(Cgroup(tmp_path)) == cores
