"""What a router far away is told about the prefix cache."""

from pagelet_api.blocks import chain, root_name
from pagelet_engine.core.kv_events import AllBlocksCleared, BlockRemoved, BlockStored

from .rig import Rig

PROMPT = tuple(range(10))


def stored(tokens: tuple[int, ...], **named: str) -> list[BlockStored]:
    names = list(chain(root_name("sha256:0", "bfloat16", named.get("salt", ""), named.get("adapter", "")), tokens, 4))
    parents = [b"", *names]
    return [
        BlockStored((name,), parents[index], tokens[4 * index : 4 * index + 4], 4, named.get("adapter", ""), "GPU", 0)
        for index, name in enumerate(names)
    ]


def rig(**scarce: int) -> Rig:
    return Rig(block_size=4, kv_events=True, model_digest="sha256:0", kv_dtype="bfloat16", **scarce)


def test_full_blocks_are_told_once_computed_with_names_that_others_can_compute():
    engine = rig()
    engine.add("a", PROMPT, max_tokens=1, adapter="poet")
    assert engine.engine.take_kv_events() == []
    engine.drain()
    assert engine.engine.take_kv_events() == stored(PROMPT, adapter="poet")
    assert engine.engine.take_kv_events() == []


def test_evicted_blocks_are_told():
    engine = rig(num_blocks=3)
    engine.add("a", PROMPT, max_tokens=1)
    engine.drain()
    engine.engine.take_kv_events()
    engine.add("b", tuple(range(20, 31)), max_tokens=1)
    engine.drain()
    first, second = stored(PROMPT)
    removed = [BlockRemoved(event.block_hashes, "GPU", 0) for event in (second, first)]
    assert engine.engine.take_kv_events()[:2] == removed, "tails first"


def test_a_snapshot_is_the_whole_cache():
    engine = rig()
    for name in ("a", "again"):
        engine.add(name, PROMPT, max_tokens=1)
        engine.drain()
    assert engine.engine.kv_snapshot() == [AllBlocksCleared(), *stored(PROMPT)]


def test_a_snapshot_forgets_what_was_evicted():
    engine = rig(num_blocks=3)
    engine.add("a", PROMPT, max_tokens=1)
    engine.drain()
    engine.add("b", (50, 51, 52, 53, 54, 55), max_tokens=1)
    engine.drain()
    assert engine.engine.kv_snapshot() == [AllBlocksCleared(), stored(PROMPT)[0], *stored((50, 51, 52, 53))]


def test_nothing_is_recorded_unless_asked_for():
    engine = Rig(block_size=4)
    engine.add("a", PROMPT, max_tokens=1)
    engine.drain()
    assert engine.engine.take_kv_events() == []
