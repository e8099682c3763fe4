"""What a frame says besides the updates: load, tokens, and KV events for as long as somebody listens."""

from collections.abc import Iterable

from pagelet_api import inference_pb2 as pb

from pagelet_engine.core.engine import EngineCore
from pagelet_engine.core.kv_events import BlockRemoved, BlockStored, KvEvent
from pagelet_engine.core.load import LoadSnapshot
from pagelet_engine.server import pipe_pb2 as pipe
from pagelet_engine.server.metered_worker import MeteredWorker


class StepReports:
    """Of one engine and its worker."""

    def __init__(self, engine: EngineCore, worker: MeteredWorker) -> None:
        self._engine = engine
        self._worker = worker
        self._listening = False
        self._snapshot_wanted = False
        self._sequence = 0

    def load(self) -> pb.Load:
        """The engine's load now."""
        load = pb.Load()
        _fill_load(self._engine.load(), load)
        return load

    def listen_kv(self, on: bool) -> None:
        """Report KV events from the next frame on, the whole cache first; or stop."""
        self._listening = self._snapshot_wanted = on

    def fill(self, step: pipe.StepFrame) -> None:
        """Add load, tokens, waits and KV events."""
        step.tokens = self._worker.take_tokens()
        step.waits_s.extend(self._engine.take_waits_s())
        _fill_load(self._engine.load(), step.load)
        events = self._engine.take_kv_events()  # also when nobody listens: they would pile up
        self._sequence += len(events)
        if not self._listening:
            return
        step.kv_sequence = self._sequence
        step.kv_events.extend(_messages(events))
        if self._snapshot_wanted:
            self._snapshot_wanted = False
            step.kv_snapshot.extend(_messages(self._engine.kv_snapshot()))


def _fill_load(load: LoadSnapshot, message: pb.Load) -> None:
    message.step = load.step
    message.running = load.running
    message.waiting = load.waiting
    message.blocks_total = load.blocks_total
    message.blocks_in_use = load.blocks_in_use
    message.blocks_cached = load.blocks_cached
    message.prefix_queries = load.prefix_queries
    message.prefix_hits = load.prefix_hits
    message.preemptions = load.preemptions
    message.host_blocks_total = load.host_blocks_total
    message.host_blocks_in_use = load.host_blocks_in_use
    message.host_blocks_cached = load.host_blocks_cached
    message.blocks_saved = load.blocks_saved
    message.blocks_loaded = load.blocks_loaded


def _messages(events: Iterable[KvEvent]) -> Iterable[pb.KvEvent]:
    for event in events:
        match event:
            case BlockStored():
                stored = pb.BlockStored(
                    block_hashes=event.block_hashes,
                    parent_block_hash=event.parent_block_hash,
                    token_ids=event.token_ids,
                    block_size=event.block_size,
                    lora_name=event.lora_name,
                    medium=event.medium,
                    group=event.group,
                )
                yield pb.KvEvent(block_stored=stored)
            case BlockRemoved():
                removed = pb.BlockRemoved(block_hashes=event.block_hashes, medium=event.medium, group=event.group)
                yield pb.KvEvent(block_removed=removed)
            case _:
                yield pb.KvEvent(all_blocks_cleared=pb.AllBlocksCleared())
