"""What a container may use, read from the files that the kernel shows it."""

import pytest
from pagelet_engine.cgroup import Cgroup

GIB = 2**30


@pytest.mark.parametrize(
    ("file", "text", "limit"),
    [
        ("memory.max", "2147483648", 2 * GIB),
        ("memory.max", "max", None),
        ("memory.max", "nonsense", None),
        ("memory/memory.limit_in_bytes", "1073741824", GIB),
        ("memory/memory.limit_in_bytes", "9223372036854771712", None),
    ],
)
def test_the_memory_limit_of_either_version_is_read(tmp_path, file, text, limit):
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).write_text(f"{text}\n")
    assert Cgroup(tmp_path).memory_limit_bytes() == limit


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("memory.events", "low 0\nhigh 0\nmax 9\noom 4\noom_kill 3\noom_group_kill 1\n"),
        ("memory/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n"),
    ],
)
def test_the_kills_for_want_of_memory_are_counted(tmp_path, file, text):
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).write_text(text)
    assert Cgroup(tmp_path).oom_kills() == 3


def test_a_machine_without_cgroups_limits_nothing(tmp_path):
    nothing = Cgroup(tmp_path / "nowhere")
    assert (nothing.memory_limit_bytes(), nothing.oom_kills(), nothing.quota_cores()) == (None, 0, float("inf"))
