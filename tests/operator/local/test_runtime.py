"""The runtime with real processes: probes, restarts, order of stopping, no process left behind."""

import os
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from pagelet_operator.local.lifecycle import Life, Phase
from pagelet_operator.local.pod import Pod
from pagelet_operator.local.runtime import LocalRuntime

from .conftest import World, exists, journal, wait_until


def pids(switches: Path, word: str = "started") -> list[int]:
    return [int(line.split()[1]) for line in journal(switches) if line.startswith(word)]


def life(runtime: LocalRuntime, index: int = 0) -> Life:
    return runtime.pods[index].containers[0].life


def variable(pod: Pod, name: str) -> str:
    """The value of an environment variable, as the container itself says it."""
    url = f"http://{pod.address}:{pod.containers[0].ports['http']}/environment"
    with urllib.request.urlopen(urllib.request.Request(url, headers={"Name": name})) as answer:
        return str(answer.read().decode())


async def test_a_pod_is_in_the_hosts_file_exactly_while_it_is_ready(world: World) -> None:
    switches = world.add("engine")
    runtime = world.start()
    await world.until(lambda: life(runtime).awaited == "loading weights", "the probe's answer")
    assert world.hosts == ""
    (switches / "ready").touch()
    await world.until(lambda: "127.0.0." in world.hosts, "the address in the hosts file")
    assert runtime.ready
    (switches / "ready").unlink()
    await world.until(lambda: world.hosts == "", "an empty hosts file")
    assert life(runtime).restarts == 0


async def test_replicas_listen_on_one_port_at_addresses_of_their_own(world: World) -> None:
    switches = world.add("engine", replicas=2)
    (switches / "ready").touch()
    runtime = world.start()
    await world.until(lambda: runtime.ready, "two ready pods")
    assert len({line.split()[0] for line in world.hosts.splitlines()}) == 2


async def test_a_container_sees_its_address_its_hosts_file_and_its_mounts(world: World) -> None:
    switches = world.add("engine", environment={"TMPDIR": "/mnt/switches/tmp"})
    (switches / "ready").touch()
    runtime = world.start()
    await world.until(lambda: runtime.ready, "a ready pod")
    pod = runtime.pods[0].pod
    assert variable(pod, "PAGELET_LISTEN_ADDRESS") == pod.address
    assert variable(pod, "PAGELET_HOSTS_FILE") == str(world.folder / "state" / "hosts")
    assert variable(pod, "TMPDIR") == f"{switches}/tmp"


async def test_a_container_that_ends_is_started_again(world: World) -> None:
    switches = world.add("engine", "--child")
    (switches / "ready").touch()
    runtime = world.start()
    await world.until(lambda: runtime.ready, "a ready pod")
    [first], [child] = pids(switches), pids(switches, "child")
    os.kill(first, signal.SIGKILL)
    await world.until(lambda: len(pids(switches)) == 2 and runtime.ready, "a second process that is ready")
    assert life(runtime).restarts == 1
    assert life(runtime).last_exit == "killed by SIGKILL"
    assert not exists(child)


async def test_a_failing_liveness_probe_restarts_the_container_and_says_so(world: World) -> None:
    live = {"httpGet": {"path": "/live", "port": "http"}, "periodSeconds": 0.05, "failureThreshold": 2}
    switches = world.add("engine", livenessProbe=live, startupProbe={**live, "failureThreshold": 200})
    (switches / "live").touch()
    (switches / "ready").touch()
    runtime = world.start()
    await world.until(lambda: runtime.ready, "a ready pod")
    (switches / "live").unlink()
    await world.until(lambda: life(runtime).restarts == 1, "a restart")
    assert life(runtime).last_exit == "its liveness probe failed 2 times in a row: loading weights"
    assert "terminated" in journal(switches)


async def test_a_start_that_never_succeeds_is_ended_when_its_time_is_up(world: World) -> None:
    startup = {"httpGet": {"path": "/ready", "port": "http"}, "periodSeconds": 0.5, "failureThreshold": 2}
    world.add("engine", startupProbe=startup)
    runtime = world.start()
    await world.until(lambda: life(runtime).restarts == 1, "a restart")
    assert "its startup probe failed" in life(runtime).last_exit


async def test_it_gives_up_on_what_always_fails_and_keeps_its_last_words(world: World) -> None:
    world.add("engine", "--die-without-ready")
    runtime = world.start()
    await world.until(lambda: life(runtime).gives_up(3), "three failures")
    container = runtime.pods[0].containers[0]
    assert container.life.last_exit == "exit code 1"
    assert container.invocation.log.read_text().count("there is no model here") >= 3


async def test_a_command_that_does_not_exist_is_an_exit_with_its_reason(world: World) -> None:
    world.add("engine", command=["/no/such/program"])
    runtime = world.start()
    await world.until(lambda: life(runtime).failures > 0, "a failure")
    assert life(runtime).last_exit == "cannot run /no/such/program: No such file or directory"


async def test_a_hosts_file_that_cannot_be_written_is_said_and_ends_nothing(world: World) -> None:
    switches = world.add("engine")
    (switches / "ready").touch()
    runtime = world.start()
    await world.until(lambda: runtime.ready and "127.0.0." in world.hosts, "a ready pod")
    in_the_way = world.folder / "state" / ".hosts.partial"
    in_the_way.mkdir()
    os.kill(pids(switches)[0], signal.SIGKILL)
    await world.until(lambda: runtime.trouble != "", "the trouble")
    hosts = world.folder / "state" / "hosts"
    assert runtime.trouble.startswith(f"cannot write {hosts}: Is a directory; gateways do not hear of engines")
    await world.until(lambda: len(pids(switches)) == 2, "a second process")
    in_the_way.rmdir()
    await world.until(lambda: runtime.ready and runtime.trouble == "", "the end of the trouble")
    assert "127.0.0." in world.hosts


async def test_a_log_that_cannot_be_opened_is_an_exit_with_its_reason(world: World) -> None:
    world.add("engine")
    (world.folder / "state" / "logs").mkdir(parents=True)
    runtime = world.start()
    log = runtime.pods[0].containers[0].invocation.log
    log.mkdir()
    await world.until(lambda: life(runtime).failures > 0, "a failure")
    assert life(runtime).last_exit == f"cannot open its log {log}: Is a directory"
    assert runtime.pods[0].containers[0].last_words(3) == []


async def test_workloads_stop_in_reverse_order_each_after_the_one_before_is_gone(world: World) -> None:
    engine, gateway = world.add("engine"), world.add("gateway")
    runtime = world.start()
    await world.until(lambda: bool(pids(engine) and pids(gateway)), "both started")
    await world.until(lambda: bool(life(runtime).awaited and life(runtime, 1).awaited), "both answer")
    await runtime.stop()
    assert journal(engine)[-1] == journal(gateway)[-1] == "terminated"
    ended = [(switches / "journal").stat().st_mtime_ns for switches in (gateway, engine)]
    assert ended == sorted(ended)
    assert not any(exists(pid) for pid in pids(engine) + pids(gateway))
    assert all(pod.containers[0].life.phase is Phase.WAITING for pod in runtime.pods)


async def test_a_container_that_ignores_sigterm_is_killed_with_its_children_after_its_grace(world: World) -> None:
    switches = world.add("engine", "--ignore-sigterm", "--child", grace_s=1)
    runtime = world.start()
    await world.until(lambda: bool(life(runtime).awaited), "an answer")
    await runtime.stop()
    assert journal(switches)[-1] == "terminated"
    assert life(runtime).last_exit == "killed by SIGKILL"
    await world.until(lambda: not any(map(exists, pids(switches) + pids(switches, "child"))), "no process is left")


async def test_hurry_grants_no_grace(world: World) -> None:
    world.add("engine", "--ignore-sigterm", grace_s=600)
    runtime = world.start()
    await world.until(lambda: bool(life(runtime).awaited), "an answer")
    runtime.hurry()
    await runtime.stop()
    assert life(runtime).last_exit == "killed by SIGKILL"


async def test_a_stopped_runtime_starts_nothing_more(world: World) -> None:
    world.add("engine", "--die-without-ready")
    runtime = world.start()
    await world.until(lambda: life(runtime).restarts > 0, "a restart")
    await runtime.stop()
    assert life(runtime).phase is Phase.WAITING


RUN_AND_WAIT = """
import asyncio, os, sys
from pathlib import Path
from pagelet_operator.local.container import Invocation, LocalContainer
from pagelet_operator.local.lifecycle import Life
from pagelet_operator.local.watchdog import Watchdog

async def main(fake, folder):
    invocation = Invocation(
        "main", [sys.executable, fake, folder, "--ignore-sigterm", "--child"], {**os.environ, "PORT": "0",
        "PAGELET_LISTEN_ADDRESS": "127.0.0.1"}, Path(folder), Path(folder, "log"), "127.0.0.1", 600)
    await LocalContainer(invocation, Life({}), Watchdog(), lambda: None).run()

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_no_container_survives_a_runtime_that_was_killed(tmp_path: Path, number: signal.Signals) -> None:
    fake = Path(__file__).with_name("fake_container.py")
    runtime = subprocess.Popen([sys.executable, "-c", RUN_AND_WAIT, str(fake), str(tmp_path)])
    wait_until(lambda: bool(pids(tmp_path, "child")), "a container with a child")
    left = pids(tmp_path) + pids(tmp_path, "child")
    runtime.send_signal(number)
    runtime.wait()
    wait_until(lambda: not any(map(exists, left)), "no process is left")
