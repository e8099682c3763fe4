"""All ranks of an engine as rank 0 has them: those of its pod started, all of them on the line, watched, and told what
to compute.

Owns the order of these. Refuses to know torch, and what a header says.
"""

import socket
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from types import TracebackType

from pagelet_engine.worker.ranks.line import Line, LineClosed
from pagelet_engine.worker.ranks.messages import (
    NO_MORE_STEPS,
    Hello,
    Nonsense,
    Refusal,
    Welcome,
    decode_hello,
    disagreement,
    encode_json,
    encode_step,
)
from pagelet_engine.worker.ranks.place import LOOPBACK, Meeting, Place
from pagelet_engine.worker.ranks.processes import RankProcesses
from pagelet_engine.worker.ranks.watch import LAST_BREATH_S, Watch

PATIENCE_S = 600.0
"""How long ranks wait for each other: pods of one group start when a node, and an image, is there."""
TELL_S = 5.0
"""Whoever waits says so this often."""
HELLO_S = 5.0
"""From a connection to its hello."""
GOODBYE_S = 2.0

Say = Callable[[str], None]
"""Tell a person, in one line."""


class CrewError(Exception):
    """Ranks that do not come, or have gone before they were on the line; one sentence for a person."""


class Lines:
    """From rank 0 to all others."""

    def __init__(self, lines: Iterable[Line]) -> None:
        self._lines = tuple(lines)

    def send(self, step: int, header: bytes) -> None:
        """Tell every rank to compute this step. Raises LineClosed when one has gone; the watch knows which."""
        frame = encode_step(step, header)
        for line in self._lines:
            line.send(frame)

    def end(self) -> None:
        """There are no more steps: the ranks end."""
        for line in self._lines:
            with suppress(LineClosed):
                line.send(NO_MORE_STEPS)

    def close(self, patience_s: float) -> None:
        """When the others have hung up, or that takes too long."""
        until_s = time.monotonic() + patience_s
        for line in self._lines:
            line.closes_within(max(0.0, until_s - time.monotonic()))
            line.close()


class Crew:
    """The ranks of one engine. Construct it before torch is imported: the others import it meanwhile."""

    def __init__(
        self,
        place: Place,
        hello: Hello,
        command: Callable[[int, int], Sequence[str]],
        limit_s: float,
        end: Callable[[str], None],
        say: Say,
        address: str = LOOPBACK,
        port: int = 0,
    ) -> None:
        """`hello` is what rank 0 itself would say; `command(rank, port)` starts a rank of this pod; limit_s and `end`
        are the watch's.

        Listens on `address`. Raises CrewError when the port is taken.
        """
        self.place = place
        self._hello, self._limit_s, self._end, self._say = hello, limit_s, end, say
        try:
            self._door = socket.create_server((address, port), backlog=place.size)
        except OSError as error:
            raise CrewError(f"cannot listen for the other ranks on {address}:{port}: {error.strerror}") from error
        self.store = socket.create_server((address, 0), backlog=place.size)
        """Where the process group is to meet; whoever makes it takes the socket over."""
        self._store_port: int = self.store.getsockname()[1]
        self._lines: Lines | None = None
        self._watch: Watch | None = None
        self._leave: Callable[[], None] = lambda: None
        self.port: int = self._door.getsockname()[1]
        """Where the other ranks find this one."""
        self._processes = RankProcesses({rank: command(rank, self.port) for rank in place.ranks if rank})

    def __enter__(self) -> "Crew":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End all ranks: in good order, or at once after an error."""
        if self._watch is not None:
            self._watch.stop()
        if self._lines is not None and error is None:
            self._lines.end()
            self._leave()
            self._lines.close(GOODBYE_S)
            self._processes.wait(GOODBYE_S)
        self._processes.stop()
        self._door.close()
        self.store.close()

    def gather(self, patience_s: float = PATIENCE_S, tell_s: float = TELL_S) -> tuple[Lines, Watch]:
        """Wait until every rank is on the line; from then on they are watched. Raises CrewError."""
        met = self._meet(patience_s, tell_s)
        self._door.close()
        size = self.place.size
        names = [_name(self._hello)] + [_name(met[rank][1]) for rank in range(1, size)]
        lines = {rank: line for rank, (line, _) in met.items()}
        self._lines = Lines(lines.values())
        self._watch = Watch(
            names, lines, lambda rank: self._processes.exit_of(rank, LAST_BREATH_S), self._limit_s, self._end
        )
        return self._lines, self._watch

    @property
    def meeting(self) -> Meeting:
        """Rank 0's; it makes the store out of `store`."""
        return Meeting(self.place, 0, self._store_port)

    def on_end(self, leave: Callable[[], None]) -> None:
        """What rank 0 does, in good order, while the others part from it."""
        self._leave = leave

    def explain(self, patience_s: float) -> str | None:
        """See Watch."""
        return self._watch.explain(patience_s) if self._watch else None

    def _meet(self, patience_s: float, tell_s: float) -> Mapping[int, tuple[Line, Hello]]:
        began_s = time.monotonic()
        told_s = began_s
        met: dict[int, tuple[Line, Hello]] = {}
        while missing := [rank for rank in range(1, self.place.size) if rank not in met]:
            if (gone := self._processes.first_exit()) is not None:
                how = self._processes.exit_of(gone[0], 0)
                raise CrewError(f"rank {gone[0]} of {self.place.size} {how} before it was on the line")
            if accepted := self._accept(met):
                met[accepted[1].rank] = accepted
            now_s = time.monotonic()
            if now_s - began_s > patience_s:
                raise CrewError(
                    f"waited {patience_s:g} s for {_ranks(missing)} of {self.place.size}; look at their logs"
                )
            if now_s - told_s > tell_s:
                self._say(f"waiting for {_ranks(missing)} of {self.place.size} since {now_s - began_s:.0f} s")
                told_s = now_s
        return met

    def _accept(self, met: Mapping[int, object]) -> tuple[Line, Hello] | None:
        """The next rank that comes; whoever does not belong here is told why, and so are we."""
        self._door.settimeout(0.1)
        try:
            connection, (host, *_) = self._door.accept()
        except TimeoutError:
            return None
        line = Line(connection)
        try:
            hello = decode_hello(line.receive_within(HELLO_S) or b"")
            why = disagreement(self._hello, hello)
            if not why and hello.rank in met:
                why = f"rank {hello.rank} is on the line already"
            if why is None:
                line.send(encode_json(Welcome(self._store_port)))
                return line, hello
            line.send(encode_json(Refusal(why)))
        except (LineClosed, Nonsense) as error:
            why = str(error)
        line.close()
        self._say(f"refused a rank at {host}: {why}")
        return None


def _name(hello: Hello) -> str:
    return f"rank {hello.rank} of {hello.size} ({hello.where})"


def _ranks(numbers: Sequence[int]) -> str:
    *first, last = map(str, numbers)
    return f"ranks {', '.join(first)} and {last}" if first else f"rank {last}"
