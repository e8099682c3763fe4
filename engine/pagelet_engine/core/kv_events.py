"""What the prefix cache holds, told as events, so that a router far away can keep a copy of the map.

Owns the events' form (the field's terms) and the record of what is held now. Refuses to know who listens.
"""

from dataclasses import dataclass

from pagelet_engine.core.step import Tier

MEDIUM = {Tier.DEVICE: "GPU", Tier.HOST: "CPU"}
"""The field's words for where a block lives, whatever the device really is."""


@dataclass(frozen=True, slots=True)
class BlockStored:
    """These blocks can be found now; a chain, the first being the child of `parent_block_hash`."""

    block_hashes: tuple[bytes, ...]
    parent_block_hash: bytes
    """Empty: the first block is the first of a prompt."""
    token_ids: tuple[int, ...]
    block_size: int
    lora_name: str
    medium: str
    group: int


@dataclass(frozen=True, slots=True)
class BlockRemoved:
    """These blocks are gone from this medium."""

    block_hashes: tuple[bytes, ...]
    medium: str
    group: int


@dataclass(frozen=True, slots=True)
class AllBlocksCleared:
    """Forget everything that was stored before."""


KvEvent = BlockStored | BlockRemoved | AllBlocksCleared


class KvEventLog:
    """Events since they were last taken, and what they add up to."""

    def __init__(self) -> None:
        self._new: list[KvEvent] = []
        self._held: dict[tuple[int, bytes], BlockStored] = {}  # (group, name) → its event, oldest first

    def stored(self, group: int, name: bytes, parent: bytes, tokens: tuple[int, ...], adapter: str) -> None:
        event = BlockStored((name,), parent, tokens, len(tokens), adapter, MEDIUM[Tier.DEVICE], group)
        self._held[group, name] = event
        self._new.append(event)

    def removed(self, group: int, name: bytes) -> None:
        del self._held[group, name]
        self._new.append(BlockRemoved((name,), MEDIUM[Tier.DEVICE], group))

    def take(self) -> list[KvEvent]:
        """The events since the last call, in order."""
        taken, self._new = self._new, []
        return taken

    def snapshot(self) -> list[KvEvent]:
        """The whole cache as events, for a listener that knows nothing yet."""
        return [AllBlocksCleared(), *self._held.values()]
