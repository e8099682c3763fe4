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


@dataclass(frozen=True, slots=True)
class BlockContent:
    """What a full block holds, for whoever is told of it."""

    parent: bytes
    """The name of the block before it; empty: it is the first."""
    tokens: tuple[int, ...]
    adapter: str


KvEvent = BlockStored | BlockRemoved | AllBlocksCleared


class KvEventLog:
    """Events since they were last taken, and what they add up to."""

    def __init__(self) -> None:
        self._new: list[KvEvent] = []
        self._held: dict[tuple[Tier, int, bytes], BlockStored] = {}  # (tier, group, name) → its event, oldest first

    def stored(self, tier: Tier, group: int, name: bytes, content: BlockContent) -> None:
        """The block can be found in this tier from now on."""
        event = BlockStored(
            (name,), content.parent, content.tokens, len(content.tokens), content.adapter, MEDIUM[tier], group
        )
        self._held[tier, group, name] = event
        self._new.append(event)

    def removed(self, tier: Tier, group: int, name: bytes) -> None:
        """It cannot be found there any more."""
        del self._held[tier, group, name]
        self._new.append(BlockRemoved((name,), MEDIUM[tier], group))

    def take(self) -> list[KvEvent]:
        """The events since the last call, in order."""
        taken, self._new = self._new, []
        return taken

    def snapshot(self) -> list[KvEvent]:
        """The whole cache as events, for a listener that knows nothing yet."""
        return [AllBlocksCleared(), *self._held.values()]
