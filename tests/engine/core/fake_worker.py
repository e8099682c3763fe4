"""A worker whose KV cache holds histories instead of tensors, so that every wrong block shows.

Position p of a sample's cache holds a hash of its tokens 0 … p. A segment reads all positions before it, as attention
does, and every one must hold the hash of this sample's own history. The next token is a hash of what was *read*, so
a wrong history that slipped through would still change the answer. What a step names is noted when it is submitted;
it is executed when its result is asked for, as late as a device may be.
"""

from collections import deque
from collections.abc import Callable, Mapping, Sequence

from pagelet_engine.core.sampling import SamplingParams
from pagelet_engine.core.step import BlockCopy, NoToken, Sampled, Segment, SlotStart, Step, Tier, TokenLogprobs

VOCABULARY = 40
EMPTY = 0  # the history of no tokens

Page = tuple[int, int]  # (group, block)
Place = tuple[Tier, int, int]


def history_of(tokens: Sequence[int], history: int = EMPTY) -> int:
    for token in tokens:
        history = hash((history, token))
    return history


def next_token(history: int, sampling: SamplingParams, sample_index: int, position: int) -> int:
    """Output token number `position` after this history; with temperature 0 the same for all samples of a request."""
    uniform = hash((sampling.seed, sample_index, position)) if sampling.temperature else 0
    token = hash((history, uniform)) % VOCABULARY
    if position < sampling.min_tokens and token in sampling.stop_token_ids:  # masked, as a sampler does
        return min(set(range(VOCABULARY)) - sampling.stop_token_ids)
    return token


def answer_alone(
    prompt: Sequence[int], sampling: SamplingParams, sample_index: int, max_length: int
) -> tuple[list[int], bool]:
    """What the sample says with nobody else around; and whether a stop token ended it."""
    output: list[int] = []
    limit = min(sampling.max_tokens or max_length, max_length - len(prompt))
    while len(output) < limit:
        token = next_token(history_of([*prompt, *output]), sampling, sample_index, len(output))
        output.append(token)
        if token in sampling.stop_token_ids and len(output) > sampling.min_tokens:
            return output, True
    return output, False


NON_FINITE, NOTHING_LEFT = -1, -2
_NO_TOKEN = {NON_FINITE: NoToken.NON_FINITE, NOTHING_LEFT: NoToken.NOTHING_LEFT}


def always_one(step: int, sample: int) -> int:
    return 1


class FakeWorker:
    """Worker with `num_blocks` blocks in each of `num_groups` groups, and `num_slots` slots.

    `num_drawn` says how many tokens a segment that draws gives back, from (step, sample number): always one for a plain
    worker; more stands for accepted drafts, none for a draw that has to be repeated; NON_FINITE and
    NOTHING_LEFT for rows that no token can be drawn from.
    """

    def __init__(
        self,
        num_blocks: int,
        block_size: int,
        num_slots: int,
        num_groups: int = 1,
        num_drawn: Callable[[int, int], int] = always_one,
        num_host_blocks: int = 0,
    ) -> None:
        self.block_size = block_size
        self.submitted: list[Step] = []
        self.slots: list[Stay | None] = [None] * num_slots
        self._num_groups = num_groups
        self._num_drawn = num_drawn
        self._pages: dict[Page, list[int | None]] = {
            (group, block): [None] * block_size for group in range(num_groups) for block in range(num_blocks)
        }
        self._host_pages: dict[Page, list[int | None]] = {
            (group, block): [None] * block_size for group in range(num_groups) for block in range(num_host_blocks)
        }
        self._in_flight: deque[Execution] = deque()

    def submit(self, step: Step) -> "Execution":
        assert step.number == len(self.submitted) + 1, f"step {step.number} was submitted after {len(self.submitted)}"
        assert step.segments or step.copies, "a step without segments and copies does nothing"
        self.submitted.append(step)
        for start in step.starts:
            for earlier in self._in_flight:
                assert start.slot not in earlier.named, f"slot {start.slot} is given away while a step names it"
            self.slots[start.slot] = Stay(start, self._num_groups)
        execution = Execution(self, step)
        self._check_writes(execution)
        self._in_flight.append(execution)
        return execution

    def execute(self, execution: "Execution") -> Mapping[int, Sampled]:
        oldest = self._in_flight.popleft()
        assert oldest is execution, "results are asked for in the order of submission"
        copies = execution.step.copies
        for copy in copies:
            if not copy.is_move:
                self._copy(copy)
        # Those between the tiers may come as early as anything else in the step, and as late.
        late = execution.step.number % 2
        moves = [copy for copy in copies if copy.is_move]
        for copy in () if late else moves:
            self._copy(copy)
        results = {segment.sample: self._compute(segment, execution) for segment in execution.step.segments}
        for copy in reversed(moves) if late else ():
            self._copy(copy)
        return results

    def _check_writes(self, new: "Execution") -> None:
        """Nobody writes a block that somebody else names, in this step or in one that still runs."""
        for slot, written in new.written.items():
            for other, pages in new.named.items():
                assert other == slot or not written & pages, f"slot {slot} writes {written & pages} of slot {other}"
        self._check_moves(new)
        for earlier in self._in_flight:
            for copy in new.step.copies:
                target = (copy.destination_tier, copy.group, copy.destination)
                assert target not in earlier.places, f"{target} is copied over while step {earlier.step.number} runs"
            for slot, written in new.written.items():
                fresh = written & new.appended[slot] & earlier.all_named
                assert not fresh, f"slot {slot} was given {fresh} to write while step {earlier.step.number} names it"
                for other, pages in earlier.named.items():
                    if earlier.stays[other] is not new.stays[slot]:
                        assert not written & pages, f"slot {slot} writes {written & pages}, named by a step in flight"

    def _check_moves(self, new: "Execution") -> None:
        """Copies between tiers run beside the step: nobody else in it touches what they fill, or writes what they
        read."""
        segments_write = {(Tier.DEVICE, *page) for written in new.written.values() for page in written}
        segments_name = {(Tier.DEVICE, *page) for named in new.named.values() for page in named}
        filled: set[Place] = set()
        read: set[Place] = set()
        for copy in new.step.copies:
            source = (copy.source_tier, copy.group, copy.source)
            target = (copy.destination_tier, copy.group, copy.destination)
            assert target not in filled, f"{target} is filled twice"
            filled.add(target)
            read.add(source)
            if copy.is_move:
                assert source not in segments_write, f"{source} is written while it is copied out"
                assert target not in segments_name, f"{target} is named while it is copied in"
        moved = {(copy.destination_tier, copy.group, copy.destination) for copy in new.step.copies if copy.is_move}
        assert not moved & read, f"{moved & read} are filled and read in one step"

    def _copy(self, copy: BlockCopy) -> None:
        pages = {Tier.DEVICE: self._pages, Tier.HOST: self._host_pages}
        source = pages[copy.source_tier][copy.group, copy.source]
        pages[copy.destination_tier][copy.group, copy.destination] = list(source)

    def _compute(self, segment: Segment, execution: "Execution") -> Sampled:
        stay, tables = execution.stays[segment.slot], execution.tables[segment.slot]
        known = len(stay.tokens)
        end = segment.start + segment.num_tokens
        tokens = segment.tokens
        if not tokens:
            assert segment.num_tokens == 1, f"{segment} has no tokens"
            if end != known:  # it counts on one token having been drawn, but that were more or none
                return self._compute_nonsense(segment, tables)
            assert stay.has_drawn, f"slot {segment.slot} has no token of its own yet"
            tokens = (stay.tokens[-1],)
        assert end <= known, f"{segment} goes past the {known} tokens that are known"
        assert list(tokens) == stay.tokens[segment.start : end], f"{segment} is not what slot {segment.slot} said"
        histories = {self._attend(group, table, segment.start, tokens, stay) for group, table in enumerate(tables)}
        assert len(histories) == 1, "the groups disagree"
        prompt_logprobs = stay.prompt_logprobs(segment.start, end)
        assert segment.samples_token == (end == known), f"{segment} draws, or not, with {known} tokens known"
        if not segment.samples_token:
            return Sampled((), (), prompt_logprobs)
        number = self._num_drawn(execution.step.number, segment.sample)
        if number in _NO_TOKEN:
            return Sampled((), (), prompt_logprobs, _NO_TOKEN[number])
        drawn = stay.draw(histories.pop(), number)
        logprobs = tuple(TokenLogprobs(token, -1.0, 1) for token in drawn)
        return Sampled(drawn, logprobs if stay.sampling.logprobs is not None else (), prompt_logprobs)

    def _attend(self, group: int, table: list[int], start: int, tokens: Sequence[int], stay: "Stay") -> int:
        """Read the positions before `start`, write those of `tokens`; returns the last one's history."""
        size = self.block_size
        history = EMPTY
        for position in range(start):
            page = (group, table[position // size])
            wanted = history_of([stay.tokens[position]], history)
            history = self._pages[page][position % size]
            assert history == wanted, f"position {position}, group and block {page}: not this sample's history"
        for position, token in enumerate(tokens, start):
            history = history_of([token], history)
            self._pages[group, table[position // size]][position % size] = history
        return history

    def _compute_nonsense(self, segment: Segment, tables: list[list[int]]) -> Sampled:
        for group, table in enumerate(tables):
            self._pages[group, table[segment.start // self.block_size]][segment.start % self.block_size] = None
        return Sampled((0,))


class Stay:
    """A row of the worker's state, from one SlotStart to the next."""

    def __init__(self, start: SlotStart, num_groups: int) -> None:
        self.sampling = start.sampling
        self.tokens = [*start.prompt, *start.output]
        self.tables: list[list[int]] = [[] for _ in range(num_groups)]
        self.has_drawn = False
        self._prompt = start.prompt
        self._sample_index = start.sample_index

    def draw(self, history: int, number: int) -> tuple[int, ...]:
        self.has_drawn |= number > 0
        for _ in range(number):
            position = len(self.tokens) - len(self._prompt)
            self.tokens.append(next_token(history, self.sampling, self._sample_index, position))
            history = history_of(self.tokens[-1:], history)
        return tuple(self.tokens[len(self.tokens) - number :])

    def prompt_logprobs(self, start: int, end: int) -> tuple[TokenLogprobs, ...]:
        if self.sampling.prompt_logprobs is None:
            return ()
        return tuple(TokenLogprobs(token, -2.0, 1) for token in self._prompt[start + 1 : end + 1])


class Execution:
    """A submitted step: what it names, noted at once, and its result, computed when it is asked for."""

    def __init__(self, worker: FakeWorker, step: Step) -> None:
        self.step = step
        self.stays: dict[int, Stay] = {}  # by slot, as all of these
        self.tables: dict[int, list[list[int]]] = {}
        self.named: dict[int, set[Page]] = {}
        """Pages in the slot's tables."""
        self.written: dict[int, set[Page]] = {}
        self.appended: dict[int, set[Page]] = {}
        """Pages in the slot's tables from this step on."""
        self._worker = worker
        for segment in step.segments:
            self._note(segment, worker.slots[segment.slot])
        self.places: set[Place] = {(Tier.DEVICE, *page) for named in self.named.values() for page in named}
        """Everything that the step names."""
        for copy in step.copies:
            self.places.add((copy.source_tier, copy.group, copy.source))
            if copy.is_move:
                self.places.add((copy.destination_tier, copy.group, copy.destination))
        self.all_named = {(copy.group, copy.source) for copy in step.copies if copy.source_tier is Tier.DEVICE}.union(
            *self.named.values()
        )
        """Device pages that the step reads or writes; not those that it fills for a later one."""

    def result(self) -> Mapping[int, Sampled]:
        return self._worker.execute(self)

    def _note(self, segment: Segment, stay: Stay | None) -> None:
        slot, size = segment.slot, self._worker.block_size
        assert stay is not None, f"slot {slot} was never started"
        assert slot not in self.stays, f"slot {slot} has two segments in one step"
        for update in segment.table_updates:
            table = stay.tables[update.group]
            assert update.index == len(table), f"{update} does not append to a table of {len(table)} blocks"
            table.append(update.block)
        first, last = segment.start // size, (segment.start + segment.num_tokens - 1) // size
        for table in stay.tables:
            assert len(set(table)) == len(table), "a block is twice in one table"
            assert last < len(table), f"{segment} writes past its table of {len(table)} blocks"
        self.stays[slot] = stay
        self.tables[slot] = [list(table) for table in stay.tables]
        self.named[slot] = {(group, block) for group, table in enumerate(stay.tables) for block in table}
        self.written[slot] = {
            (group, block) for group, table in enumerate(stay.tables) for block in table[first : last + 1]
        }
        self.appended[slot] = {(update.group, update.block) for update in segment.table_updates}
