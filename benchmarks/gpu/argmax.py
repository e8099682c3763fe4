"""The largest of each row of logits, beside torch's."""

from collections.abc import Iterator
from functools import partial

import torch
from gpu.timing import Row, device_peaks, rotation, seconds_a_call
from pagelet_engine.kernels.triton.argmax import argmax

VOCABULARIES = {"Llama 3": 128256, "Gemma 3": 262144}
ROWS = (1, 8, 32, 256)


def measure() -> Iterator[Row]:
    peaks = device_peaks()
    for name, vocab in VOCABULARIES.items():
        for count in ROWS:
            num_bytes = 4 * count * vocab
            logits = [torch.randn(count, vocab, device="cuda") for _ in range(rotation(num_bytes))]
            seconds = seconds_a_call([partial(argmax, each) for each in logits])
            torch_s = seconds_a_call([partial(torch.argmax, each, dim=-1) for each in logits])
            yield Row.of_bytes("argmax", f"{name}, {count} rows", seconds, num_bytes, peaks, torch=torch_s)
