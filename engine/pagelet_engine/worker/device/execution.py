"""What one rank computes of a step, from its header and its payload. Every rank runs the same code on its own share."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from pagelet_engine.layers.batch import Batch
from pagelet_engine.layers.ranks import OneRank, Ranks
from pagelet_engine.models.registry import Model
from pagelet_engine.worker.device.header import Header
from pagelet_engine.worker.device.sections import Sections, cut, payload_length


class Group(Ranks, Protocol):
    """The ranks of one engine, in the order of the device's stream."""

    def broadcast(self, tensor: Tensor) -> None:
        """Rank 0's tensor, into everybody's."""
        ...

    def least(self, number: int) -> int:
        """Of the numbers that all ranks give."""
        ...


@dataclass(frozen=True, slots=True)
class SlotState:
    """What a device remembers of its slots from step to step."""

    block_tables: tuple[Tensor, ...]
    """By KV group: (slots, blocks) int32. Entries past a sequence's end are whatever they were."""
    last_token: Tensor
    """(slots + 1,) int32: drawn last; the last row is nobody's: padding writes there."""
    payload: Tensor
    """int32: of the step that is computed, as sections.py cuts it."""

    @classmethod
    def new(
        cls, num_slots: int, max_blocks: int, num_groups: int, payload_length: int, device: torch.device
    ) -> "SlotState":
        def zeros(*shape: int) -> Tensor:
            return torch.zeros(shape, dtype=torch.int32, device=device)

        tables = tuple(zeros(num_slots, max_blocks) for _ in range(num_groups))
        return cls(tables, zeros(num_slots + 1), zeros(payload_length))


class Batches(Protocol):
    """How a backend sees a step."""

    def batch(self, header: Header, sections: Sections[Tensor], token_ids: Tensor) -> Batch:
        """token_ids (tokens,) int32, all known."""
        ...


Wait = Callable[[], None]


class Copies(Protocol):
    def run(self, header: Header, sections: Sections[Tensor]) -> Wait | None:
        """Make the step's copies: those within the device before what is launched next, the others beside it. → waits
        until the latter are made, if there are any."""
        ...


class Forward(Protocol):
    def __call__(self, header: Header) -> Tensor:
        """Run the model on the payload that the state holds: → (tokens, hidden), valid until the next step."""
        ...


class EagerForward:
    """Launches the model's ops one by one."""

    def __init__(self, model: Model, batches: Batches, state: SlotState) -> None:
        self._model, self._batches, self._state = model, batches, state

    def __call__(self, header: Header) -> Tensor:
        sections = cut(self._state.payload, header)
        ids = sections.token_ids
        token_ids = torch.where(ids < 0, self._state.last_token[sections.token_slots], ids)
        return self._model(self._batches.batch(header, sections, token_ids))


class MapMismatch(Exception):
    """Ranks that do not agree where keys and values are: a bug, found before it shows in tokens."""


class Rank:
    """Computes steps in their order: those that have a graph by `graphs`, all others eagerly."""

    def __init__(
        self,
        model: Model,
        group: Group,
        state: SlotState,
        eager: Forward,
        graphs: Forward,
        copies: Copies,
        *,
        compares_maps: bool = False,
    ) -> None:
        """compares_maps: every step is checked for having the same block map on all ranks, which takes long."""
        self.group, self.state = group, state
        self._compares_maps = compares_maps
        self._model, self._eager, self._graphs, self._copies = model, eager, graphs, copies
        self._hidden = torch.empty(0)
        self.wait_for_copies: Wait | None = None
        """Of the last step, where it has any beside it."""

    def compute(self, header: Header, sections: Sections[Tensor]) -> Tensor:
        """Compute the step whose payload, cut into sections, the state holds: → (draws, vocab) fp32."""
        self.wait_for_copies = self._copies.run(header, sections)
        for table, entries in zip(self.state.block_tables, sections.updates, strict=True):
            if len(entries):
                slot, index, block = entries.unbind(1)
                table[slot, index] = block
        if self._compares_maps:
            self._compare_maps(header.step)
        if header.num_tokens:
            self._hidden = (self._graphs if header.graph else self._eager)(header)
        return self._logits(sections.draw_rows)

    def prompt_logits(self, header: Header, sections: Sections[Tensor]) -> Iterator[Tensor]:
        """Logits of the step's prompt rows, some at a time; every rank must ask for all of them."""
        for rows in torch.split(sections.prompt_rows, list(header.prompt_rows)) if header.prompt_rows else ():
            yield self._logits(rows)

    def _compare_maps(self, step: int) -> None:
        own = checksum(self.state.block_tables)
        if (least := self.group.least(own)) != own:
            raise MapMismatch(
                f"step {step}: rank {self.group.rank} has another block map than others: wanted checksum {least}, "
                f"found {own}; what is computed from now on means nothing"
            )

    def _logits(self, rows: Tensor) -> Tensor:
        if not len(rows):
            return torch.empty(0)
        return self._model.logits(self._hidden.index_select(0, rows))


class Alone(OneRank):
    """Implements `Group` for an engine of one rank."""

    def broadcast(self, tensor: Tensor) -> None:
        pass

    def least(self, number: int) -> int:
        return number


class Follower:
    """A rank that is told what to compute."""

    def __init__(self, rank: Rank) -> None:
        self._rank = rank

    @torch.inference_mode()
    def run(self, data: bytes) -> None:
        """Compute the step with this encoded header; its payload and its tokens come from rank 0."""
        header, rank = Header.decode(data), self._rank
        state, group = rank.state, rank.group
        group.broadcast(state.payload[: payload_length(header)])
        sections = cut(state.payload, header)
        rank.compute(header, sections)
        if header.num_draws:
            tokens = torch.empty_like(sections.draw_slots)
            group.broadcast(tokens)
            state.last_token[sections.draw_slots] = tokens
        for _ in rank.prompt_logits(header, sections):
            pass


def checksum(tables: Sequence[Tensor]) -> int:
    """Of the block tables, whole: another for nearly every other map. Waits for the device."""
    total = 0
    for table in tables:
        weights = torch.arange(1, table.numel() + 1, device=table.device)
        total = (31 * total + int((table.view(-1) * weights).sum())) % (1 << 61)
    return total
