"""Three processes and their tensors, over Gloo."""

import json
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

PROGRAM = Path(__file__).with_name("gloo_rank.py")
SIZE = 3


@pytest.fixture(scope="module")
def results() -> list[dict[str, Any]]:
    """By rank."""
    with socket.create_server(("127.0.0.1", 0)) as store:
        words = [str(SIZE), str(store.getsockname()[1]), str(store.fileno())]
        processes = [
            subprocess.Popen(
                [sys.executable, str(PROGRAM), str(rank), *words],
                pass_fds=[] if rank else [store.fileno()],
                stdout=subprocess.PIPE,
            )
            for rank in range(SIZE)
        ]
    answers = [process.communicate(timeout=120)[0] for process in processes]
    assert [process.returncode for process in processes] == [0] * SIZE
    return [json.loads(answer) for answer in answers]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_sums_are_the_same_numbers_on_every_rank_and_rounded_once(
    dtype: torch.dtype, results: list[dict[str, Any]]
) -> None:
    sums = [result["sums"][str(dtype)] for result in results]
    assert sums[0] == sums[1] == sums[2]
    parts = []
    for rank in range(SIZE):
        torch.manual_seed(rank)
        parts.append(torch.randn(7, 33, dtype=torch.float64).to(dtype).double())
    wanted = torch.stack(parts).sum(0)
    tolerance = {"rtol": torch.finfo(dtype).eps, "atol": 1e-6}
    torch.testing.assert_close(torch.tensor(sums[0], dtype=torch.float64).view(7, 33), wanted, **tolerance)


def test_columns_lie_side_by_side_in_the_order_of_the_ranks(results: list[dict[str, Any]]) -> None:
    wanted = [[0, 1, 2, 10, 11, 12, 20, 21, 22], [3, 4, 5, 13, 14, 15, 23, 24, 25]]
    assert [result["gathered"] for result in results] == [wanted] * SIZE


def test_strided_tensors_are_added_too(results: list[dict[str, Any]]) -> None:
    assert [result["strided"] for result in results] == [[[3.0] * 3] * 4] * SIZE


def test_a_piece_of_rank_0s_tensor_reaches_everybody(results: list[dict[str, Any]]) -> None:
    assert [result["payload"] for result in results] == [list(range(8)), *[[0, 0, 2, 3, 4, 5, 0, 0]] * (SIZE - 1)]


def test_the_least_of_all_numbers_is_known_to_all(results: list[dict[str, Any]]) -> None:
    assert [result["least"] for result in results] == [100 - SIZE + 1] * SIZE
