"""A steady load of streamed chats beside a scenario, and what became of each: for claims that nothing fails."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from e2e.kube import Kube
from e2e.pods.conftest import ask, client_of, url


@dataclass
class Outcomes:
    texts: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    failed_at_s: list[float] = field(default_factory=list)
    """On the monotonic clock, one a failure."""
    longest_s: float = 0.0

    @property
    def count(self) -> int:
        return len(self.texts) + len(self.failures)


@contextmanager
def steady_load(kube: Kube, namespace: str, *, streams: int = 2, tokens: int = 32) -> Iterator[Outcomes]:
    """`streams` clients, each asking again as soon as it is answered, on a new connection each time."""
    address = url(kube, namespace)  # looked up once: the API server may go away
    outcomes, stop, lock = Outcomes(), threading.Event(), threading.Lock()

    def one_client(number: int) -> None:
        turn = 0
        while not stop.is_set():
            turn += 1
            began_s = time.monotonic()
            try:
                with client_of(address) as chat:
                    text = ask(chat, f"Count from {number} to {turn}.", tokens)
                with lock:
                    outcomes.texts.append(text)
            except Exception as error:  # whatever a client may see is an outcome
                with lock:
                    outcomes.failures.append(f"{type(error).__name__}: {error}")
                    outcomes.failed_at_s.append(time.monotonic())
                time.sleep(0.2)
            outcomes.longest_s = max(outcomes.longest_s, time.monotonic() - began_s)

    threads = [threading.Thread(target=one_client, args=(number,), daemon=True) for number in range(streams)]
    for thread in threads:
        thread.start()
    try:
        yield outcomes
    finally:
        stop.set()
        for thread in threads:
            thread.join(180)
            assert not thread.is_alive(), "a client hangs"
