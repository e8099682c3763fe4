"""`python -m pagelet_gateway` as a process: its lines, its exit status, its end."""

import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from pagelet_api import names
from pagelet_api.config import GatewayConfig
from tokenizers import Tokenizer

from .conftest import ANSWER, MODEL, eventually, model_info
from .fake_engine import FakeEngine
from .tokenizers_made_here import model_files


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def start(folder: Path, config: str, *arguments: str, **env: str) -> asyncio.subprocess.Process:
    path = folder / "config.json"
    path.write_text(config)
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "pagelet_gateway", "--config", str(path), *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, **env},
    )


@contextlib.asynccontextmanager
async def engine_of(tokenizer: Tokenizer) -> AsyncIterator[FakeEngine]:
    answer = [*tokenizer.encode(ANSWER).ids, 2]
    engine = FakeEngine(model_files(tokenizer), model_info(tokenizer), lambda *_: answer)
    await engine.start()
    try:
        yield engine
    finally:
        await engine.die()


async def test_finds_engines_in_the_hosts_file_and_drains_on_sigterm(tmp_path: Path, tokenizer: Tokenizer) -> None:
    async with engine_of(tokenizer) as engine, httpx.AsyncClient(timeout=30) as http:
        hosts = tmp_path / "hosts"
        hosts.write_text("127.0.0.9 somebody-else\n")
        config = GatewayConfig(model_name=MODEL, engine_host="the-engines", engine_port=engine.port)
        port, ops = free_port(), free_port()
        gateway = await start(
            tmp_path,
            config.to_json(),
            *("--http-port", str(port), "--ops-port", str(ops), "--log-requests"),
            **{names.HOSTS_FILE_ENV: str(hosts)},
        )
        url = f"http://127.0.0.1:{port}"

        async def status(where: str) -> int:
            try:
                return (await http.get(where)).status_code
            except httpx.TransportError:
                return 0

        async def until(where: str, wanted: int) -> None:
            async with asyncio.timeout(20):
                while await status(where) != wanted:
                    await asyncio.sleep(0.02)

        await until(f"{url}/health", 200)
        assert await status(f"http://127.0.0.1:{ops}/ready") == 503
        hosts.write_text("# the ready pods\n127.0.0.1 the-engines.default.svc the-engines\n")
        await until(f"http://127.0.0.1:{ops}/ready", 200)

        engine.pause()
        body = {"model": MODEL, "messages": [{"role": "user", "content": "Hi"}], "stream": True}
        asked = asyncio.create_task(http.post(f"{url}/v1/chat/completions", json=body))
        await eventually(lambda: engine.running, "the request in the engine")
        engine.step()
        gateway.send_signal(signal.SIGTERM)
        await until(f"http://127.0.0.1:{ops}/ready", 503)
        engine.resume()
        assert (await asked).text.endswith("data: [DONE]\n\n")
        _, errors = await asyncio.wait_for(gateway.communicate(), 20)
        assert gateway.returncode == 0, errors.decode()
        lines = errors.decode().splitlines()
        assert any("ready: a request went through end to end" in line for line in lines)
        assert any("POST /v1/chat/completions 200" in line for line in lines)
        assert "Traceback" not in errors.decode()


async def one_line_failure(process: asyncio.subprocess.Process) -> str:
    output, errors = await asyncio.wait_for(process.communicate(), 20)
    assert process.returncode not in (0, None)
    (line,) = (output + errors).decode().splitlines()
    return line


@pytest.mark.parametrize("taken", ["--http-port", "--ops-port"])
async def test_a_port_that_is_taken_is_one_line(tmp_path: Path, taken: str) -> None:
    config = GatewayConfig(model_name=MODEL, engine_host="none")
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        ports = {"--http-port": str(free_port()), "--ops-port": str(free_port()), taken: str(port)}
        process = await start(tmp_path, config.to_json(), *(word for pair in ports.items() for word in pair))
        line = await one_line_failure(process)
    assert f"cannot listen on 127.0.0.1:{port}: Address already in use" in line


@pytest.mark.parametrize(
    ("config", "part"),
    [("{", "JSON"), ('{"modelName": "x"}', "engineHost"), ('{"modelName": "x", "engineHost": "y", "z": 1}', "z:")],
)
async def test_a_bad_configuration_is_one_line(tmp_path: Path, config: str, part: str) -> None:
    line = await one_line_failure(await start(tmp_path, config))
    assert "bad configuration" in line
    assert part in line


async def test_an_address_that_is_not_ours_is_one_line(tmp_path: Path) -> None:
    config = GatewayConfig(model_name=MODEL, engine_host="none")
    process = await start(tmp_path, config.to_json(), **{names.LISTEN_ADDRESS_ENV: "192.0.2.1"})
    assert "cannot listen on 192.0.2.1:8000" in await one_line_failure(process)
