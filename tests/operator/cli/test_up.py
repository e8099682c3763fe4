"""`pagelet up` from the outside: what it says, what it leaves behind, how it ends."""

import json
import os
import signal
import socket

import pytest

from .conftest import Desk, exists


def is_up(desk: Desk) -> bool:
    return "Ready after" in desk.said


def test_it_says_what_it_waits_for_and_then_where_to_go(desk: Desk) -> None:
    desk.up()
    desk.until(lambda: "engine 0: loading weights" in desk.said, "the engine's phase")
    desk.until(lambda: "gateway 0: waiting for an engine" in desk.said, "the gateway's phase")
    desk.let_engine_be_ready()
    desk.until(lambda: is_up(desk), "a ready service")
    url = f"http://127.0.0.1:{desk.port}"
    assert desk.said.startswith("tiny: weights 177 KiB bfloat16, KV cache 1.00 MiB = 256 blocks of 16 tokens")
    assert f"tiny is at {url}/v1" in desk.said
    assert f"pagelet chat --url {url}" in desk.said


def test_it_says_how_its_weights_are_held(desk: Desk) -> None:
    desk.write(engine={"kvCacheMemory": "1Mi", "quantization": "int4"})
    desk.up()
    desk.until(lambda: "loading weights" in desk.said, "the engine's phase")
    assert desk.said.startswith("tiny: weights 73.1 KiB int4, KV cache 1.00 MiB = 256 blocks")


def test_ctrl_c_ends_the_gateway_first_then_the_engine_and_is_no_error(desk: Desk) -> None:
    desk.let_engine_be_ready()
    process = desk.up()
    desk.until(lambda: is_up(desk), "a ready service")
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 0
    assert desk.journal[-2:] == ["gateway ended", "engine ended"]
    assert not any(map(exists, desk.pids()))
    assert desk.said.endswith("Stopped.\n")


def test_ctrl_c_while_it_starts_stops_it_too(desk: Desk) -> None:
    process = desk.up()
    desk.until(lambda: "loading weights" in desk.said, "the engine's phase")
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 0
    assert not any(map(exists, desk.pids()))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_other_requests_to_end_are_heeded_as_well(desk: Desk, number: signal.Signals) -> None:
    process = desk.up()
    desk.until(lambda: "loading weights" in desk.said, "the engine's phase")
    process.send_signal(number)
    assert process.wait(30) == 0
    assert "engine ended" in desk.journal


def test_kill_9_leaves_no_process_behind(desk: Desk) -> None:
    process = desk.up()
    desk.until(lambda: "loading weights" in desk.said and "waiting for an engine" in desk.said, "both parts")
    process.kill()
    process.wait()
    desk.until(lambda: not any(map(exists, desk.pids())), "the end of both parts")


def test_a_part_that_always_fails_ends_it_with_the_parts_last_lines(desk: Desk) -> None:
    code, said = desk.up_to_the_end(FAKE_ENGINE_ERROR="the weights are upside down")
    assert code == 1
    assert desk.journal.count("engine failed") == 3
    assert "failed 3 times without ever being ready, last: exit code 1\n  | the weights are upside down\n" in said
    assert not any(map(exists, desk.pids()))


def test_a_part_that_dies_later_is_started_again(desk: Desk) -> None:
    desk.let_engine_be_ready()
    desk.up()
    desk.until(lambda: is_up(desk), "a ready service")
    [engine] = [int(line.split()[-1]) for line in desk.journal if line.startswith("engine started")]
    os.kill(engine, signal.SIGKILL)
    desk.until(lambda: "engine 0: killed by SIGKILL\n          | engine says hello\n" in desk.said, "its last words")
    desk.until(lambda: desk.said.count("engine 0: ready") == 2, "an engine that is ready again")


def test_logs_are_kept_and_shown_on_request(desk: Desk) -> None:
    desk.up("--logs")
    desk.until(lambda: "tiny-gateway-0 | gateway says hello" in desk.said, "the gateway's line")
    logs = list((desk.folder / "state" / "pagelet" / "default.tiny" / "logs").glob("tiny-gateway-0.log"))
    assert [log.read_text() for log in logs] == ["gateway says hello\n"]


def test_a_taken_port_is_refused_before_anything_starts(desk: Desk) -> None:
    with socket.create_server(("127.0.0.1", desk.port)):
        code, said = desk.up_to_the_end()
    assert (code, said.count("\n")) == (1, 1)
    assert f"port {desk.port} on 127.0.0.1 is taken" in said
    assert not desk.journal


def test_the_same_service_cannot_run_twice_in_one_state_folder(desk: Desk) -> None:
    desk.up()
    desk.until(lambda: "loading weights" in desk.said, "the engine's phase")
    second = desk.run("up", "-f", str(desk.file), "--port", "1")
    assert second.returncode == 1
    assert "tiny is running already" in second.stderr


def test_a_second_service_runs_beside_the_first(desk: Desk) -> None:
    desk.let_engine_be_ready()
    first = desk.up()
    desk.until(lambda: is_up(desk), "a ready service")
    desk.port += 10
    desk.up("--state-dir", str(desk.folder / "second"))
    desk.until(lambda: is_up(desk), "a second ready service")
    assert first.poll() is None


def test_a_model_that_is_not_there_is_refused_with_the_way_to_make_it(desk: Desk) -> None:
    desk.write(model={"source": {"path": "absent"}})
    code, said = desk.up_to_the_end()
    assert (code, said.count("\n")) == (1, 1)
    assert f"there is no model folder {desk.folder}/absent; make one with `pagelet import" in said


def test_a_folder_that_was_never_verified_is_refused(desk: Desk) -> None:
    (desk.model / "manifest.sha256").unlink()
    code, said = desk.up_to_the_end()
    assert (code, said.count("\n")) == (1, 1)
    assert "not a verified model folder" in said


def test_another_digest_than_the_wanted_one_is_refused(desk: Desk) -> None:
    desk.write(model={"source": {"path": "model"}, "digest": f"sha256:{'0' * 64}"})
    code, said = desk.up_to_the_end()
    assert (code, said.count("\n")) == (1, 1)
    assert f"spec.model.digest: wanted sha256:{'0' * 64}, but {desk.model} has sha256:e3b0c44" in said


def test_an_unknown_architecture_is_refused(desk: Desk) -> None:
    (desk.model / "config.json").write_text(json.dumps({"architectures": ["Rnn"]}))
    code, said = desk.up_to_the_end()
    assert (code, said.count("\n")) == (1, 1)
    assert "architecture Rnn is not supported" in said


def test_more_memory_than_there_is_is_refused_with_the_sum(desk: Desk) -> None:
    desk.write(engine={"kvCacheMemory": "900Ti"})
    code, said = desk.up_to_the_end()
    assert (code, said.count("\n")) == (1, 1)
    assert "too little memory: weights 177 KiB + KV cache 900 TiB" in said
    assert "lower spec.engine.kvCacheMemory" in said


def test_a_cache_without_room_for_four_blocks_is_refused(desk: Desk) -> None:
    desk.write(engine={"kvCacheMemory": "15Ki"})
    code, said = desk.up_to_the_end()
    assert (code, said.count("\n")) == (1, 1)
    assert "wanted at least 4 blocks" in said


@pytest.mark.parametrize(
    ("spec", "reason"), [({"replicas": 0}, "spec.replicas is 0"), ({"suspend": True}, "spec.suspend")]
)
def test_a_service_without_engines_is_refused(desk: Desk, spec: dict[str, object], reason: str) -> None:
    desk.write(**spec)
    code, said = desk.up_to_the_end()
    assert (code, said.count("\n")) == (1, 1)
    assert reason in said


def test_a_bad_file_is_refused_with_its_line(desk: Desk) -> None:
    desk.file.write_text("apiVersion: pagelet.io/v1alpha1\nkind: InferenceService\nmetadata: {name: a}\nspec: 7\n")
    code, said = desk.up_to_the_end()
    assert (code, said.count("\n")) == (1, 1)
    assert f"{desk.file}:4: spec: wanted a map of fields, found 7" in said
