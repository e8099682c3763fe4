"""Real processes of this machine: what is told about them is what they do."""

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from cpu.processes import NoProcess, ProcessTree

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="/proc")

PARENT = "import subprocess, sys; subprocess.run([sys.executable, '-c', sys.argv[1], *sys.argv[2:]])"
HOLDER = """
import mmap, sys
held = bytearray(64 << 20)
for i in range(0, len(held), 4096):
    held[i] = 1
file = open(sys.argv[1], "rb")
mapped = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
total = sum(mapped[i] for i in range(0, len(mapped), 4096))
print("ready", flush=True)
while True:
    sum(range(1000))
"""


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[ProcessTree]:
    """A parent that waits, and its child, which keeps 64 MiB of its own, maps 8 MiB of a file, and is busy."""
    weights = tmp_path / "weights"
    weights.write_bytes(bytes(8 << 20))
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, HOLDER, str(weights)], stdout=subprocess.PIPE, start_new_session=True
    )
    assert parent.stdout
    parent.stdout.readline()
    tree = ProcessTree(parent.pid)
    yield tree
    for pid in reversed(tree.pids()):
        subprocess.run(["kill", "-KILL", str(pid)], check=True)
    parent.wait()


def test_counts_the_time_and_memory_of_descendants(tree: ProcessTree, tmp_path: Path) -> None:
    before_s = tree.cpu_s()
    deadline = time.monotonic() + 60
    while tree.cpu_s() < before_s + 0.1:
        assert time.monotonic() < deadline, "a busy child has used no time"
    memory = tree.memory()
    assert 64 << 20 <= memory.private_bytes < 128 << 20
    assert tree.mapped_bytes(tmp_path) == 8 << 20
    assert memory.file_bytes >= 8 << 20


def test_a_sleeping_tree_uses_no_time(tree: ProcessTree) -> None:
    tree.sleep()
    before_s = tree.cpu_s()
    busy = time.process_time() + 0.2
    while time.process_time() < busy:
        pass
    assert tree.cpu_s() == before_s
    tree.wake()
    deadline = time.monotonic() + 60
    while tree.cpu_s() == before_s:
        assert time.monotonic() < deadline, "it has not woken"


def test_says_when_nothing_runs() -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    with pytest.raises(NoProcess, match=str(ended.pid)):
        ProcessTree(ended.pid).cpu_s()
