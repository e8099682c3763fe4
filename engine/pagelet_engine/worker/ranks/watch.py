"""Rank 0's watch over all ranks: who has died, failed or hangs, in which step, in one line.

`verdict` judges, pure; `Watch` listens to the lines in a thread of its own, because rank 0 itself may be held in a
collective operation that waits for the dead. Refuses to know what a step is.
"""

import select
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from pagelet_engine.worker.ranks.line import Line, LineClosed
from pagelet_engine.worker.ranks.messages import Beat, Failure, Nonsense, decode_news

BEAT_S = 0.5
"""Every rank says this often that it lives."""
QUIET_S = 4 * BEAT_S
"""Of those who might hold a step up, whoever has been silent for so long does."""
ECHO_S = 1.0
"""When a rank dies, the others fail, sometimes sooner than its death is seen: a failure waits so long for a death that
explains it."""
LAST_BREATH_S = 2.0
"""From a closed line to the exit code of its process."""


@dataclass(frozen=True, slots=True)
class Sign:
    """What is known of a rank; times are those of rank 0's monotonic clock."""

    name: str
    heard_s: float
    begun: int = 0
    """The last step that it has begun, and the last that it has ended; 0: none."""
    ended: int = 0
    since_s: float = 0.0
    """When its oldest step in flight became that."""
    died: str = ""
    """How, when it has."""
    failed: str = ""
    """What it said went wrong."""
    failed_s: float = 0.0

    @property
    def is_busy(self) -> bool:
        return self.begun > self.ended

    def progress(self, begun: int, ended: int, now_s: float) -> "Sign":
        """It was heard now, and says this."""
        is_new = ended != self.ended or not self.is_busy
        return replace(self, heard_s=now_s, begun=begun, ended=ended, since_s=now_s if is_new else self.since_s)


def verdict(signs: Sequence[Sign], now_s: float, limit_s: float) -> str | None:
    """Why the engine must end, in one line, or None. `signs` by rank; rank 0 knows of itself and is never silent."""
    where = _where(signs[0])
    for sign in signs:
        if sign.died and not sign.failed:
            return f"{sign.name} {sign.died} {where}"
    failed = [sign for sign in signs if sign.failed]
    if failed:
        first = min(failed, key=lambda sign: sign.failed_s)
        return f"{first.name} failed {_where(first)}: {first.failed}" if now_s - first.failed_s >= ECHO_S else None
    if not signs[0].begun:
        return None  # how long loading may take is for the start-up probe to say
    return _hang(signs, now_s, limit_s)


def _hang(signs: Sequence[Sign], now_s: float, limit_s: float) -> str | None:
    silent = [sign for sign in signs[1:] if now_s - sign.heard_s > limit_s]
    late = [sign for sign in signs if sign.is_busy and now_s - sign.since_s > limit_s]
    if late and not silent:
        silent = [sign for sign in signs[1:] if now_s - sign.heard_s > QUIET_S]
    if silent:
        quietest = min(silent, key=lambda sign: sign.heard_s)
        silence_s = now_s - quietest.heard_s
        return (
            f"{quietest.name} hangs {_where(signs[0])}: silent for {silence_s:.0f} s, at most {limit_s:g} are allowed"
        )
    if not late:
        return None
    step = min(sign.ended for sign in late) + 1
    over = f"not ended after {now_s - min(sign.since_s for sign in late):.0f} s, at most {limit_s:g} are allowed"
    before = [sign for sign in signs if sign.begun < step]
    inside = [sign for sign in signs if sign.ended < step <= sign.begun]
    if len(before or inside) == 1:
        return f"{(before or inside)[0].name} hangs {'before' if before else 'in'} step {step}: {over}"
    states = [f"{sign.name} has not begun it" for sign in before] + [f"{sign.name} is in it" for sign in inside]
    return f"step {step} hangs: {over}; {', '.join(states)}"


def _where(rank: Sign) -> str:
    if rank.is_busy:
        return f"in step {rank.ended + 1}"
    return f"after step {rank.ended}" if rank.ended else "while the model was loaded"


class Watch:
    """Watches from construction on until `stop`; a verdict is final, and given to `end` once, in the watch's thread."""

    def __init__(
        self,
        names: Sequence[str],
        lines: Mapping[int, Line],
        exit_of: Callable[[int], str],
        limit_s: float,
        end: Callable[[str], None],
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """`names` by rank. `exit_of(rank)` says how the process of a closed line ended, or "" where nobody knows."""
        now_s = clock_s()
        self._signs = [Sign(name, now_s) for name in names]
        self._lines, self._exit_of = dict(lines), exit_of
        self._limit_s, self._end, self._clock_s = limit_s, end, clock_s
        self._verdict: str | None = None
        self._has_verdict = threading.Event()
        self._stopped, self._stop = socket.socketpair()
        self._poll = select.poll()
        self._poll.register(self._stopped, select.POLLIN)
        self._ranks = {line.fileno(): rank for rank, line in self._lines.items()}
        for number in self._ranks:
            self._poll.register(number, select.POLLIN)
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)
        self._thread.start()

    def begin(self, step: int) -> None:
        """Rank 0 begins a step."""
        self._signs[0] = self._signs[0].progress(step, self._signs[0].ended, self._clock_s())

    def end(self, step: int) -> None:
        """The oldest step that rank 0 has begun has ended."""
        self._signs[0] = self._signs[0].progress(self._signs[0].begun, step, self._clock_s())

    def explain(self, patience_s: float) -> str | None:
        """The verdict, for which an error of rank 0's own waits so long: it may be another rank's death."""
        self._has_verdict.wait(patience_s)
        return self._verdict

    def stop(self) -> None:
        """The ranks are about to end in good order."""
        self._stop.close()
        self._thread.join()
        self._stopped.close()

    def _run(self) -> None:
        while self._verdict is None:
            for number, _ in self._poll.poll(BEAT_S * 1000):
                if number == self._stopped.fileno():
                    return
                self._listen(self._ranks[number], number)
            self._verdict = verdict(self._signs, self._clock_s(), self._limit_s)
        self._has_verdict.set()
        self._end(self._verdict)

    def _listen(self, rank: int, number: int) -> None:
        try:
            for data in self._lines[rank].arrived():
                self._note(rank, decode_news(data))
        except (LineClosed, Nonsense) as error:
            self._poll.unregister(number)
            how = self._exit_of(rank) or f"is gone ({error})"
            self._signs[rank] = replace(self._signs[rank], died=how)

    def _note(self, rank: int, news: Beat | Failure) -> None:
        now_s, sign = self._clock_s(), self._signs[rank]
        if isinstance(news, Failure):
            self._signs[rank] = replace(sign, failed=news.sentence, failed_s=now_s)
        else:
            self._signs[rank] = sign.progress(news.begun, news.ended, now_s)
