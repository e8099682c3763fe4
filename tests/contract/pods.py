"""Engines and gateways as a cluster runs them: a process each, with an address of its own and probes, behind names that
list who is ready.

The engines' worker is scripted, so that they start in a moment; front, core, scheduler and wire are the real ones. What
kubelet, Service and endpoints controller do is done here, in a few lines each.
"""

import asyncio
import contextlib
import itertools
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path

import httpx
from local_service import free_port
from pagelet_api import names
from prometheus_client.parser import text_string_to_metric_families
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

MODEL = "pods"
ENGINES = "pods-engine"
LIMIT_S = 30.0
_FAKE_ENGINE = Path(__file__).parents[1] / "engine" / "server" / "fake_engine.py"
_POLL_S = 0.02


@dataclass
class Pod:
    name: str
    address: str
    process: subprocess.Popen[bytes]
    log: Path
    switches: Path | None = None
    ready: bool = False

    def switch(self, name: str, on: bool = True) -> None:
        assert self.switches is not None, "only engines have switches"
        (self.switches / name).touch() if on else (self.switches / name).unlink()

    def terminate(self) -> None:
        self.process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.process.kill()

    def core_pid(self) -> int:
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        assert len(children) == 1, children
        return int(children[0])

    async def end(self) -> int:
        """Its exit code."""
        await eventually(lambda: self.process.poll() is not None, lambda: f"{self.name} ends:\n{self.log.read_text()}")
        self.ready = False
        return self.process.wait()


@dataclass
class Cluster:
    """Use as an async context manager, by `cluster()`."""

    folder: Path
    http: httpx.AsyncClient
    pods: list[Pod] = field(default_factory=list)
    _numbers: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))
    grpc_port: int = 0
    http_port: int = 0
    ops_port: int = 0
    next_gateway: "itertools.count[int]" = field(default_factory=itertools.count)

    @property
    def hosts(self) -> Path:
        return self.folder / "hosts"

    def start_engine(self) -> Pod:
        number = next(self._numbers)
        model = self.folder / f"model-{number}"
        (model / "switches").mkdir(parents=True)
        (model / "tokenizer.json").write_text(_tokenizer().to_str())
        arguments = ["--model", str(model), "--grpc-port", str(self.grpc_port), "--ops-port", str(self.ops_port)]
        config = {"modelName": MODEL, "drainTimeoutS": 20}
        pod = self._start(f"engine-{number}", number, [str(_FAKE_ENGINE), *arguments], config)
        pod.switches = model / "switches"
        return pod

    def start_gateway(self) -> Pod:
        number = next(self._numbers)
        arguments = ["--http-port", str(self.http_port), "--ops-port", str(self.ops_port)]
        config = {"modelName": MODEL, "engineHost": ENGINES, "enginePort": self.grpc_port, "drainTimeoutS": 20}
        return self._start(f"gateway-{number}", number, ["-m", "pagelet_gateway", *arguments], config)

    async def until_ready(self, *pods: Pod) -> None:
        def report() -> str:
            return "\n".join(f"{pod.name} is ready:\n{pod.log.read_text()}" for pod in pods if not pod.ready)

        await eventually(lambda: all(pod.ready for pod in pods), report)

    async def until_answering(self, gateway: Pod, wanted: int) -> None:
        """The gateway has that many requests to answer."""
        url = f"http://{gateway.address}:{self.ops_port}{names.METRICS_PATH}"
        while True:
            families = text_string_to_metric_families((await self.http.get(url)).text)
            found = [family.samples[0].value for family in families if family.name == names.METRIC_GATEWAY_RUNNING]
            if found == [wanted]:
                return

    def gateway_url(self) -> str:
        """Of a ready one, each in turn: where a Service sends a new connection."""
        ready = [pod for pod in self.pods if pod.ready and pod.name.startswith("gateway")]
        assert ready, "no gateway is ready"
        return f"http://{ready[next(self.next_gateway) % len(ready)].address}:{self.http_port}"

    def _start(self, name: str, number: int, words: list[str], config: dict[str, object]) -> Pod:
        address, log = f"127.0.43.{number}", self.folder / f"{name}.log"
        file = self.folder / f"{name}.json"
        file.write_text(json.dumps(config))
        env = {**os.environ, names.LISTEN_ADDRESS_ENV: address, names.HOSTS_FILE_ENV: str(self.hosts)}
        with log.open("wb") as output:
            command = [sys.executable, *words, "--config", str(file)]
            process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=env)
        self.pods.append(Pod(name, address, process, log))
        return self.pods[-1]

    async def keep_endpoints(self) -> None:
        """Probe readiness, and list the ready engines under their name, until cancelled."""
        while True:
            for pod in self.pods:
                pod.ready = await self._is_ready(pod)
            lines = [f"{pod.address} {ENGINES}\n" for pod in self.pods if pod.ready and pod.name.startswith("engine")]
            new = self.folder / "hosts.new"
            new.write_text("".join(lines))
            new.replace(self.hosts)
            await asyncio.sleep(_POLL_S)

    async def _is_ready(self, pod: Pod) -> bool:
        if pod.process.poll() is not None:
            return False
        try:
            url = f"http://{pod.address}:{self.ops_port}{names.READY_PATH}"
            return (await self.http.get(url, timeout=1)).status_code == 200
        except httpx.TransportError:
            return False


@contextlib.asynccontextmanager
async def cluster(folder: Path) -> AsyncIterator[Cluster]:
    async with httpx.AsyncClient() as http:
        made = Cluster(folder, http, grpc_port=free_port(), http_port=free_port(), ops_port=free_port())
        endpoints = asyncio.create_task(made.keep_endpoints())
        try:
            yield made
        finally:
            endpoints.cancel()
            for pod in made.pods:
                pod.process.kill()
                pod.process.wait()


async def eventually(condition: Callable[[], bool], what: Callable[[], str]) -> None:
    until_s = asyncio.get_running_loop().time() + LIMIT_S
    while not condition():
        assert asyncio.get_running_loop().time() < until_s, f"still waiting: {what()}"
        await asyncio.sleep(_POLL_S)


def _tokenizer() -> Tokenizer:
    """A token a byte."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({letter: id for id, letter in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer
