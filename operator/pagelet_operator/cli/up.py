"""`pagelet up`: runs the pods of an InferenceService on this machine until Ctrl-C.

Owns what a person sees and how it ends; `preparation.py` decides what runs, `local/` runs it.
"""

import asyncio
import json
import os
import signal
import time
from contextlib import closing
from pathlib import Path

from pagelet_api import names
from pagelet_api.v1alpha1 import InferenceService

from pagelet_operator.cli import CommandError
from pagelet_operator.cli.log_tail import LogTail
from pagelet_operator.cli.preparation import Preparation, open_state, prepare
from pagelet_operator.cli.screen import Screen
from pagelet_operator.cli.source import read_service
from pagelet_operator.local.container import LocalContainer
from pagelet_operator.local.invocation import StateFolder
from pagelet_operator.local.pod import UnsupportedPod
from pagelet_operator.local.runtime import LocalPod, LocalRuntime
from pagelet_operator.local.statement import state_of_pod
from pagelet_operator.local.workload import SERVICE_ADDRESS, read_services

GIVE_UP_AFTER = 3
"""Failures of a container that was never ready: what fails three times the same way fails a fourth time."""
_LAST_WORDS = 12
_LAST_WORDS_OF_A_RESTART = 3
_REFRESH_S = 0.5


def up(file: Path, name: str, port: int, state_dir: Path | None, show_logs: bool) -> int:
    service = read_service(file, name)
    state, lock = open_state(service, state_dir)
    with lock:
        preparation = prepare(service, port)
        with closing(preparation.addresses):
            return asyncio.run(_run(service, preparation, state, port, show_logs))


async def _run(
    service: InferenceService, preparation: Preparation, state: StateFolder, port: int, show_logs: bool
) -> int:
    try:
        runtime = LocalRuntime(preparation.workloads, read_services(preparation.objects), state, dict(os.environ))
    except UnsupportedPod as error:
        raise CommandError(str(error)) from error
    except OSError as error:
        raise CommandError(
            f"cannot prepare the state folder {state.path}: {error.strerror}; make room there, or give another: "
            "--state-dir"
        ) from error
    screen = Screen()
    screen.line(preparation.plan_line)
    session = UpSession(runtime, screen, LogTail(state.logs, screen) if show_logs else None)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, session.interrupt)
    try:
        await session.run(_greeting(service, port, state))
    finally:
        runtime.close()
    return 0


class UpSession:
    """From the first start to the last stop, in front of a person."""

    def __init__(self, runtime: LocalRuntime, screen: Screen, log_tail: LogTail | None) -> None:
        self._runtime = runtime
        self._screen = screen
        self._log_tail = log_tail
        self._interrupted = asyncio.Event()
        self._began_s = time.monotonic()
        self._were_ready: set[str] = set()
        self._told_restarts: dict[LocalContainer, int] = {}
        self._told_trouble = ""

    def interrupt(self) -> None:
        """Stop; a second time: stop without grace."""
        if self._interrupted.is_set():
            self._screen.line("Stopping now.")
            self._runtime.hurry()
        self._interrupted.set()

    async def run(self, greeting: str) -> None:
        """Until interrupted. Raises CommandError when a container cannot be brought up."""
        self._runtime.start()
        greeted = False
        try:
            while not self._interrupted.is_set():
                if hopeless := self._hopeless():
                    raise CommandError(_obituary(*hopeless))
                self._show()
                if self._runtime.ready and not greeted:
                    greeted = True
                    self._screen.line(f"Ready after {self._elapsed()}.\n{greeting}")
                await self._something_happens()
            self._screen.line("Stopping: requests in flight may finish. Ctrl-C again stops at once.")
        finally:
            await self._stop()
        self._screen.line("Stopped.")

    async def _stop(self) -> None:
        stopping = asyncio.create_task(self._runtime.stop())
        while not stopping.done():
            self._show()
            self._runtime.changed.clear()
            changed = asyncio.create_task(self._runtime.changed.wait())
            await asyncio.wait({stopping, changed}, timeout=_REFRESH_S, return_when=asyncio.FIRST_COMPLETED)
            changed.cancel()
        self._screen.status("", {})
        stopping.result()

    async def _something_happens(self) -> None:
        """Wait for a change, an interrupt, or the time to draw the clock again."""
        self._runtime.changed.clear()
        waiting = [asyncio.create_task(event.wait()) for event in (self._runtime.changed, self._interrupted)]
        # Without a clock to draw or a log to follow, an idle service is left in peace.
        refreshing = not self._runtime.ready or self._log_tail is not None
        await asyncio.wait(waiting, timeout=_REFRESH_S if refreshing else None, return_when=asyncio.FIRST_COMPLETED)
        for task in waiting:
            task.cancel()

    def _show(self) -> None:
        if self._log_tail:
            self._log_tail.show()
        self._tell_trouble()
        now_s = time.monotonic()
        pending = {}
        for pod in self._runtime.pods:
            self._tell_deaths(pod)
            if pod.ready:
                if pod.pod.name not in self._were_ready:
                    self._were_ready.add(pod.pod.name)
                    self._screen.line(f"{self._elapsed():>8}  {_short_name(pod)}: ready")
            else:
                self._were_ready.discard(pod.pod.name)
                pending[_short_name(pod)] = _state(pod, now_s)
        self._screen.status(f"{self._elapsed():>8}", pending)

    def _tell_trouble(self) -> None:
        """What this machine refuses the runtime, once, and that it is over."""
        trouble = self._runtime.trouble
        if trouble != self._told_trouble:
            self._screen.line(f"{self._elapsed():>8}  {trouble or 'the hosts file is as it should be again'}")
            self._told_trouble = trouble

    def _tell_deaths(self, pod: LocalPod) -> None:
        """The last words of a container that ended by itself, once: they are why the next start may fail too."""
        for container in pod.containers:
            restarts = container.life.restarts
            if restarts > self._told_restarts.get(container, 0) and not container.stopping:
                self._told_restarts[container] = restarts
                words = "".join(f"\n{'':>10}| {line}" for line in container.last_words(_LAST_WORDS_OF_A_RESTART))
                self._screen.line(f"{self._elapsed():>8}  {_short_name(pod)}: {container.life.last_exit}{words}")

    def _hopeless(self) -> tuple[LocalPod, LocalContainer] | None:
        for pod in self._runtime.pods:
            for container in pod.containers:
                if container.life.gives_up(GIVE_UP_AFTER):
                    return pod, container
        return None

    def _elapsed(self) -> str:
        return f"{time.monotonic() - self._began_s:.1f} s"


def _state(pod: LocalPod, now_s: float) -> str:
    stopping = any(container.stopping for container in pod.containers)
    return state_of_pod([container.life for container in pod.containers], now_s, stopping=stopping)


def _short_name(pod: LocalPod) -> str:
    """engine 0, gateway 1: what a person calls it."""
    component = pod.pod.labels.get(names.LABEL_COMPONENT, pod.pod.name)
    return f"{component} {pod.pod.name.rpartition('-')[2]}"


def _obituary(pod: LocalPod, container: LocalContainer) -> str:
    life = container.life
    head = f"{pod.pod.name} failed {life.failures} times without ever being ready, last: {life.last_exit}"
    words = container.last_words(_LAST_WORDS)
    said = "".join(f"\n  | {line}" for line in words) if words else " (it wrote nothing)"
    return f"{head}{said}\n  all of it: {container.invocation.log}"


def _greeting(service: InferenceService, port: int, state: StateFolder) -> str:
    url = f"http://{SERVICE_ADDRESS}:{port}"
    body = json.dumps({"model": service.served_name, "messages": [{"role": "user", "content": "Hello!"}]})
    return (
        f"\n  {service.served_name} is at {url}/v1\n\n"
        f"  chat    pagelet chat --url {url}\n"
        f"  curl    curl {url}/v1/chat/completions -H 'Content-Type: application/json' -d '{body}'\n"
        f"  logs    {state.logs}\n"
        f"  stop    Ctrl-C\n"
    )
