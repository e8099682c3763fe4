"""`pagelet warm` compiles every kernel that an engine launches, for GPUs that are not here.

In a process of its own, because this one may have been told to interpret kernels. What was compiled once stays in
build/triton, under a key of all that it is made from.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
CACHE = HERE.parents[1] / "build" / "triton"

LLAMA = {
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 128,
    "vocab_size": 256,
    "max_position_embeddings": 1024,
    "tie_word_embeddings": True,
    "dtype": "bfloat16",
}
MIXTRAL = LLAMA | {"architectures": ["MixtralForCausalLM"], "num_local_experts": 4, "num_experts_per_tok": 2}
GEMMA = LLAMA | {
    "architectures": ["Gemma3ForCausalLM"],
    "head_dim": 32,
    "sliding_window": 64,
    "layer_types": ["sliding_attention", "full_attention"],
}
SMALL = {"modelName": "tiny", "maxNumSeqs": 4, "maxNumBatchedTokens": 64, "kvCacheBytes": 1_000_000}
FP8 = {"quantization": "fp8", "kvCacheDtype": "fp8"}


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    return subprocess.run([sys.executable, *arguments], env=environment, capture_output=True, text=True, check=False)


def write(folder: Path, model: dict[str, Any], config: dict[str, Any]) -> tuple[Path, Path]:
    """The model's folder, and the engine's configuration."""
    (folder / "config.json").write_text(json.dumps(model))
    (folder / "engine.json").write_text(json.dumps(config))
    return folder, folder / "engine.json"


@pytest.mark.parametrize(
    ("model", "config", "target"),
    [
        pytest.param(LLAMA, SMALL, "sm_90", id="Llama"),
        pytest.param(LLAMA, SMALL, "gfx942", id="Llama on AMD", marks=pytest.mark.nightly),
        pytest.param(
            MIXTRAL,
            SMALL | FP8 | {"tensorParallelSize": 2, "maxNumSeqs": 300, "maxNumBatchedTokens": 1024},
            "sm_90",
            id="Mixtral in fp8 on two ranks",
            marks=pytest.mark.nightly,
        ),
        pytest.param(GEMMA, SMALL, "sm_90", id="Gemma 3", marks=pytest.mark.nightly),
    ],
)
def test_an_engine_launches_nothing_that_is_not_in_a_warm_cache(
    tmp_path: Path, model: dict[str, Any], config: dict[str, Any], target: str
) -> None:
    done = run(HERE / "warmed.py", *write(tmp_path, model, config), target, CACHE)
    assert done.returncode == 0, done.stderr
    outcome = json.loads(done.stdout)
    counts = [
        re.fullmatch(rf"{target}: (\d+) kernels compiled in .* s, (\d+) were there already", line)
        for line in outcome["said"]
    ]
    first, second = ([int(number) for number in found.groups()] for found in counts if found)
    assert sum(first) >= 20
    assert second == [0, sum(first)], "what was compiled is there"
    assert outcome["with numbers"] == [], "tensors without numbers stand for real ones"
    assert outcome["served"] == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        pytest.param(
            ["--target", "sm_91"],
            "kernels can be compiled for sm_80, sm_86, sm_89, sm_90, sm_100, sm_120, gfx942, gfx950; "
            "'sm_91' is none of them",
            id="unknown",
        ),
        pytest.param(
            ["--target", "sm_80"],
            "sm_80: a kernel of this configuration cannot be compiled for it: ",
            marks=pytest.mark.nightly,
            id="fp8 where there is none",
        ),
    ],
)
def test_what_cannot_be_compiled_is_refused_by_name(tmp_path: Path, arguments: list[str], said: str) -> None:
    folder, config = write(tmp_path, LLAMA, SMALL | FP8)
    done = run("-m", "pagelet_engine.warm", "--model", folder, "--config", config, "--cache", tmp_path, *arguments)
    assert done.returncode == 1
    assert f"pagelet warm: {said}" in done.stderr
    assert "Traceback" not in done.stderr
