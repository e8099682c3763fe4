"""The whole engine once, nothing faked: a tiny random model, the real worker, a real client."""

import math
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from pagelet_api import inference_pb2 as pb
from pagelet_api import inference_pb2_grpc
from pagelet_api.model_folder import read_digest, write_manifest

from .engine_process import EngineProcess, request

PROMPT = [3, 14, 15, 92, 65, 35, 89, 79, 32, 38, 46, 26, 43, 38, 32, 79, 50, 28, 84, 19]


@pytest.fixture(scope="module")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama of two layers with random weights, as a verified model folder."""
    transformers = pytest.importorskip("transformers")
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("tiny")
    config = transformers.LlamaConfig(
        vocab_size=128,
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=256,
        initializer_range=0.5,  # far apart logits: no ties
        eos_token_id=127,
        bos_token_id=0,
    )
    transformers.LlamaForCausalLM(config).eval().save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).write_text("{}")
    write_manifest(folder)
    return folder


@pytest.fixture(scope="module")
def engine(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EngineProcess]:
    engine = EngineProcess(
        tmp_path_factory.mktemp("engine"),
        program=("-m", "pagelet_engine.server"),
        model=tiny_model,
        dtype="float32",
        kvCacheBytes=2**20,
    )
    engine.wait_until_ready()
    yield engine
    engine.stop()


async def test_greedy_tokens_are_those_of_transformers(engine: EngineProcess, tiny_model: Path) -> None:
    import torch
    import transformers

    model = transformers.LlamaForCausalLM.from_pretrained(tiny_model)
    ids = torch.tensor([PROMPT])
    wanted = model.generate(ids, max_new_tokens=24, do_sample=False, eos_token_id=None)[0, len(PROMPT) :].tolist()
    async with grpc.aio.insecure_channel(engine.target) as channel:
        stub = inference_pb2_grpc.EngineStub(channel)
        call = stub.Generate(request("greedy", tokens=PROMPT, max_tokens=24, ignore_eos=True))
        found = [token async for update in call for sample in update.samples for token in sample.token_ids]
        info = await stub.GetModelInfo(pb.GetModelInfoRequest())
    assert found == wanted
    assert info.digest == read_digest(tiny_model)
    assert info.max_model_len == 256


EXTREMES = {
    "seed": {"seed": 2**64 - 1},
    "top_k": {"top_k": 2**32 - 1},
    "top_p": {"top_p": 1e-38},
    "min_p": {"min_p": 1.0},
    "cold": {"temperature": 1e-38},
    "hot": {"temperature": 100.0},
    "penalties": {"repetition_penalty": 0.0101, "presence_penalty": -2.0, "frequency_penalty": 2.0},
    "repetition": {"repetition_penalty": 10.0},
    "bias": {"logit_bias": dict.fromkeys(range(128), -100.0)},
    "logprobs": {"logprobs": 20, "prompt_logprobs": 20},
    "no logprobs": {"logprobs": 0, "prompt_logprobs": 0},
    "samples": {"n": 128},
    "stops": {"stop_token_ids": [127] * 64, "min_tokens": 4},
}


@pytest.mark.parametrize("sampling", EXTREMES.values(), ids=EXTREMES.keys())
async def test_what_validation_lets_through_is_served(sampling: dict[str, object], engine: EngineProcess) -> None:
    message = request("extreme", tokens=PROMPT, **{"temperature": 1.0, "max_tokens": 4, "ignore_eos": True, **sampling})
    message.priority, message.tenant, message.cache_salt = -(2**31), "\0ü" * 50, "\uffff" * 200
    async with grpc.aio.insecure_channel(engine.target) as channel:
        updates = [update async for update in inference_pb2_grpc.EngineStub(channel).Generate(message)]
    assert updates[-1].finished
    drawn = [token for update in updates for sample in update.samples for token in sample.token_ids]
    assert len(drawn) == 4 * (message.sampling.n or 1)
    assert max(drawn) < 128
    for update in updates:
        for sample in update.samples:
            assert all(math.isfinite(entry.logprob) for entry in sample.logprobs)


def test_a_front_imports_no_torch(engine: EngineProcess) -> None:
    maps = Path(f"/proc/{engine.process.pid}/maps").read_text()
    assert "libtorch" not in maps
    assert "libtorch" in Path(f"/proc/{engine.core_pid()}/maps").read_text()


def test_a_damaged_model_ends_the_engine_with_one_line(tiny_model: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged"
    damaged.mkdir()
    for path in tiny_model.iterdir():
        (damaged / path.name).write_bytes(path.read_bytes())
    (damaged / "tokenizer.json").write_text("{ }")
    engine = EngineProcess(tmp_path, program=("-m", "pagelet_engine.server"), model=damaged, kvCacheBytes=2**20)
    assert engine.wait() == 1
    assert "tokenizer.json" in engine.last_line
    assert "Traceback" not in engine.log
