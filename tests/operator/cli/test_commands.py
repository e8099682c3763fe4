"""The short commands: plan, render, import, warm, and the command line itself."""

import json
import subprocess
import sys

import pytest
import yaml
from pagelet_operator.cli.numbers import size

from .conftest import Desk


def test_plan_shows_blocks_tokens_and_sessions_of_the_cpu_cache(desk: Desk) -> None:
    # 2 layers × K and V × 2 heads × 16 × 2 bytes = 256 bytes a token.
    desk.write(engine={"kvCacheMemory": "1Mi"})
    plan = json.loads(desk.run("plan", "-f", str(desk.file), "--lengths", "100,1000", "--json").stdout)
    assert plan["device"] == "cpu"
    assert plan["kvBytesPerToken"] == 256
    assert (plan["blocks"], plan["tokens"]) == (256, 4096)
    assert plan["sessions"] == {"100": 256 // 7, "1000": 256 // 63}


def test_plan_prints_a_table_for_a_person(desk: Desk) -> None:
    table = desk.run("plan", "-f", str(desk.file)).stdout
    assert "KV blocks       256 of 16 tokens, 4.00 KiB each\n" in table
    assert "           1,024                   4\n" in table


PARTS = "weightBytes", "activationBytes", "reservedBytes", "kvCacheBytes"


def test_plan_for_a_named_gpu_leaves_what_weights_and_steps_need(desk: Desk) -> None:
    plan = json.loads(desk.run("plan", "-f", str(desk.file), "--gpu", "L40S", "--json").stdout)
    assert plan["totalBytes"] == 46068 * 2**20 * 90 // 100
    assert sum(plan[name] for name in PARTS) == plan["totalBytes"]


def test_plan_takes_the_accelerator_from_the_file(desk: Desk) -> None:
    gpu = {"limits": {"nvidia.com/gpu": 1}}
    desk.write(resources=gpu, accelerator={"memory": "8Gi"})
    assert json.loads(desk.run("plan", "-f", str(desk.file), "--json").stdout)["totalBytes"] == 2**33 * 90 // 100
    desk.write(resources=gpu, accelerator={"memory": "8Gi"}, engine={"gpuMemoryUtilizationPercent": 50})
    assert json.loads(desk.run("plan", "-f", str(desk.file), "--json").stdout)["totalBytes"] == 2**33 * 50 // 100
    desk.write(resources=gpu)
    assert "which GPU? Give --gpu or --memory" in desk.run("plan", "-f", str(desk.file)).stderr


def test_plan_counts_quantised_weights_and_plans_small_integers_for_the_cpu_alone(desk: Desk) -> None:
    weight_bytes = {}
    for quantization in ("none", "int8", "int4"):
        desk.write(engine={"kvCacheMemory": "1Mi", "quantization": quantization})
        plan = json.loads(desk.run("plan", "-f", str(desk.file), "--json").stdout)
        assert plan["quantization"] == quantization
        weight_bytes[quantization] = plan["weightBytes"]
    assert weight_bytes["int4"] < weight_bytes["int8"] < weight_bytes["none"]
    assert ", linear layers in int4\n" in desk.run("plan", "-f", str(desk.file)).stdout
    for_a_gpu = desk.run("plan", "-f", str(desk.file), "--gpu", "L40S")
    assert for_a_gpu.returncode == 1
    assert "spec.engine.quantization: int4 is a format of the cpu device; set it to fp8 or none" in for_a_gpu.stderr


def test_plan_counts_what_a_gpu_holds_in_fp8(desk: Desk) -> None:
    gpu = {"limits": {"nvidia.com/gpu": 1}}
    desk.write(resources=gpu)
    plain = json.loads(desk.run("plan", "-f", str(desk.file), "--gpu", "L40S", "--json").stdout)
    desk.write(resources=gpu, engine={"quantization": "fp8", "kvCacheDtype": "fp8", "dtype": "bfloat16"})
    held = json.loads(desk.run("plan", "-f", str(desk.file), "--gpu", "L40S", "--json").stdout)
    assert (plain["quantization"], plain["kvCacheDtype"]) == ("none", plain["dtype"])
    assert (held["quantization"], held["kvCacheDtype"]) == ("fp8", "fp8_e4m3")
    assert held["weightBytes"] < plain["weightBytes"]
    assert held["kvBytesPerToken"] < plain["kvBytesPerToken"]
    assert "KV a token" in (table := desk.run("plan", "-f", str(desk.file), "--gpu", "L40S").stdout)
    assert ", fp8_e4m3\n" in table


def test_plan_of_a_model_that_does_not_divide_into_groups_says_so(desk: Desk) -> None:
    config = json.loads((desk.model / "config.json").read_text())
    (desk.model / "config.json").write_text(json.dumps({**config, "intermediate_size": 100}))
    desk.write(engine={"kvCacheMemory": "1Mi", "quantization": "int4"})
    result = desk.run("plan", "-f", str(desk.file))
    assert result.returncode == 1
    assert "some are left over: down 100 = 3 × 32 + 4; set quantization: int8, or none" in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--gpu", "Voodoo2"], "GPU 'Voodoo2' is not in the list"),
        (["--memory", "much"], "wanted memory such as 4Gi"),
        (["--memory", "1Mi"], "take a larger device"),
        (["--lengths", "100,5000"], "no session of 5,000 tokens fits: 1,024 at most"),
    ],
)
def test_a_plan_that_cannot_be_made_says_why_in_one_line(desk: Desk, arguments: list[str], said: str) -> None:
    result = desk.run("plan", "-f", str(desk.file), *arguments)
    assert result.returncode == 1
    assert said in result.stderr
    assert result.stderr.count("\n") == 1


def test_plan_needs_no_weights_but_a_configuration(desk: Desk) -> None:
    (desk.model / "manifest.sha256").unlink()
    assert desk.run("plan", "-f", str(desk.file)).returncode == 0
    (desk.model / "config.json").unlink()
    assert "cannot read the model's configuration" in desk.run("plan", "-f", str(desk.file)).stderr


def test_render_prints_objects_that_kubectl_could_apply(desk: Desk) -> None:
    output = desk.run("render", "-f", str(desk.file)).stdout
    objects = list(yaml.safe_load_all(output))
    kinds = {"ReplicaSet", "Deployment", "Service", "ConfigMap", "ServiceAccount", "NetworkPolicy"}
    assert kinds == {item["kind"] for item in objects}
    assert "&" not in output, "no YAML anchors"


def test_render_of_a_model_that_is_fetched_has_its_job_and_says_what_comes_later(desk: Desk) -> None:
    source = {"huggingFace": {"repo": "org/m"}}
    desk.write(model={"source": source, "storage": {"pvc": {"size": "5Gi"}}})
    result = desk.run("render", "-f", str(desk.file))
    kinds = {item["kind"] for item in yaml.safe_load_all(result.stdout)}
    assert {"Job", "PersistentVolumeClaim"} < kinds
    assert "ReplicaSet" not in kinds
    assert "the engines come once the model is fetched" in result.stderr


@pytest.mark.parametrize("command", ["up", "plan"])
def test_a_source_that_only_a_cluster_has_is_refused_with_what_to_do(desk: Desk, command: str) -> None:
    desk.write(model={"source": {"pvc": {"claimName": "models"}}})
    result = desk.run(command, "-f", str(desk.file))
    assert result.returncode == 1
    assert "spec.model.source: wanted path, a model folder on this machine, found pvc" in result.stderr
    assert result.stderr.count("\n") == 1


def test_import_hands_its_arguments_and_its_exit_code_through(desk: Desk) -> None:
    result = desk.run("import", "a.gguf", "model", "--overwrite", "--help")
    assert result.stdout == "importer a.gguf model --overwrite --help\n"
    assert result.returncode == 3


def test_warm_hands_the_engines_configuration_to_the_engine_and_its_exit_code_back(desk: Desk) -> None:
    desk.write(resources={"limits": {"nvidia.com/gpu": 1}}, engine={"maxNumSeqs": 7})
    result = desk.run("warm", "-f", str(desk.file), "--target", "sm_80", "--target", "gfx942", "--cache", "kernels")
    said = json.loads(result.stdout)
    assert said["arguments"] == [
        *("--model", str(desk.model), "--target", "sm_80", "--target", "gfx942", "--cache", "kernels", "--config")
    ]
    assert (said["config"]["device"], said["config"]["maxNumSeqs"]) == ("cuda", 7)
    assert result.returncode == 3


def test_warm_has_nothing_to_compile_for_a_cpu(desk: Desk) -> None:
    result = desk.run("warm", "-f", str(desk.file), "--target", "sm_90")
    assert result.returncode == 1
    assert "the service runs on the cpu device, which has no kernels to compile; ask for a GPU" in result.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["down"],
        ["up"],
        ["up", "-f", "x", "--port", "0"],
        ["up", "-f", "x", "--port", "http"],
        ["plan", "-f", "x", "--lengths", "1,a"],
        ["plan", "-f", "x", "--gpu", "a", "--memory", "b"],
        ["up", "-f", "x", "--nonsense"],
    ],
)
def test_wrong_arguments_end_with_2_and_the_usage(desk: Desk, arguments: list[str]) -> None:
    result = desk.run(*arguments)
    assert result.returncode == 2
    assert result.stderr.startswith("usage: pagelet")


def test_help_imports_no_more_than_it_needs() -> None:
    program = "import sys, pagelet_operator.cli as c\ntry: c.main(['--help'])\nexcept SystemExit: print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    assert not {"openai", "pydantic", "yaml", "asyncio", "grpc"} & set(loaded)


@pytest.mark.parametrize(
    ("num_bytes", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.00 KiB"),
        (10 * 1024, "10.0 KiB"),
        (1023.9 * 2**20, "1.00 GiB"),
        (257 * 2**20, "257 MiB"),
        (2**60, "1048576 TiB"),
    ],
)
def test_sizes_have_three_digits(num_bytes: int, text: str) -> None:
    assert size(num_bytes) == text
