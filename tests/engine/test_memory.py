"""An engine that has served twenty thousand requests holds no more memory than one that has served ten thousand."""

import json
import subprocess
import sys
from pathlib import Path

SERVED = Path(__file__).with_name("served.py")
REQUESTS = 20_000
NOISE_BYTES = 6 << 20
"""What an allocator gives and takes back. Ten thousand requests kept by mistake are three times as much."""


def test_memory_does_not_grow_with_requests(tiny_llama):
    folder = tiny_llama(num_hidden_layers=1).folder
    command = [sys.executable, SERVED, folder, str(REQUESTS)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    resident = json.loads(done.stdout)
    assert len(resident) == REQUESTS // 1000
    half = resident[len(resident) // 2 :]
    assert max(half) - half[0] < NOISE_BYTES, f"resident bytes after each 1,000 requests: {resident}"
