import pytest
from pagelet_engine.core.step import BlockCopy, Segment, Step, Tier
from simulator.hardware import A100_40GB, GIB, LLAMA_3_8B, OPT_13B, CostModel, Work

COST = CostModel(A100_40GB, OPT_13B)


def test_counts_a_prompt_and_a_single_token() -> None:
    step = Step(1, (), (), (Segment(1, 0, 0, 3, ()), Segment(2, 1, 9, 1, ())))
    assert Work.of(step) == Work(tokens=4, context_tokens=13, attended_pairs=1 + 2 + 3 + 10)


def test_counts_copies_by_where_they_go() -> None:
    ways = [(Tier.DEVICE, Tier.DEVICE), (Tier.DEVICE, Tier.HOST), (Tier.DEVICE, Tier.HOST), (Tier.HOST, Tier.DEVICE)]
    copies = tuple(BlockCopy(0, source, 1, destination, 2) for source, destination in ways)
    assert Work.of(Step(1, (), copies, ())) == Work(0, 0, 0, 1, 2, 1)


def test_a_small_step_takes_as_long_as_its_bytes() -> None:
    moved_bytes = 26e9 + 819_200 * (400 + 4)
    assert COST.seconds(Work(4, 400, 400)) == pytest.approx(0.005 + moved_bytes / (0.6 * 1.555e12))


def test_a_long_prompt_takes_as_long_as_its_arithmetic() -> None:
    pairs = 2048 * 2049 // 2
    flops = 2 * 13e9 * 2048 + 4 * 40 * 5120 * pairs
    assert COST.seconds(Work(2048, 2048, pairs)) == pytest.approx(0.005 + flops / (0.5 * 312e12))


def test_copies_to_the_host_overlap_with_computing_and_with_those_back() -> None:
    block_s = 16 * 819_200 / (0.8 * 32e9)
    decode = Work(1, 100, 100)
    assert COST.seconds(Work(1, 100, 100, 0, 10, 5)) == COST.seconds(decode)
    assert COST.seconds(Work(1, 100, 100, 0, 1000, 500)) == pytest.approx(0.005 + 1000 * block_s)
    assert COST.seconds(Work(0, 0, 0, 0, 3, 4)) == pytest.approx(0.005 + 4 * block_s)


def test_sizes_are_those_of_the_models() -> None:
    assert OPT_13B.kv_bytes_per_token == 819_200
    assert LLAMA_3_8B.kv_bytes_per_token == 128 * 1024
    assert COST.blocks_in(12 * GIB) == 983
