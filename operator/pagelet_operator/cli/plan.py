"""`pagelet plan`: what fits where, from the checkpoint's configuration alone."""

import json
from pathlib import Path

from pagelet_api.config import Quantization
from pagelet_api.gpus import UnknownGpuError, gpu_memory_bytes
from pagelet_api.memory_plan import DoesNotFitError, MemoryPlan
from pagelet_api.quantities import QuantityError, parse_bytes
from pagelet_api.sizes import ModelConfigError, ModelShape
from pagelet_api.v1alpha1 import InferenceService

from pagelet_operator.cli import CommandError
from pagelet_operator.cli.numbers import count, size
from pagelet_operator.cli.source import model_path, plan_on_cpu, read_service, read_shape, runs_on_cpu
from pagelet_operator.replica_memory import accelerator_plan

_LENGTHS = (512, 1024, 2048, 4096, 8192, 16384, 32768, 65536, 131072)


def plan(
    file: Path, name: str, *, gpu: str | None, memory: str | None, lengths: list[int] | None, as_json: bool
) -> int:
    service = read_service(file, name)
    shape = read_shape(model_path(service))
    device, result = _plan(service, shape, gpu, memory)
    fitting = [length for length in lengths or _LENGTHS if length <= result.max_model_len]
    sessions = {length: result.sessions(length) for length in fitting or [result.max_model_len]}
    print(
        _as_json(service, shape, device, result, sessions)
        if as_json
        else _table(service, shape, device, result, sessions)
    )
    if lengths and (beyond := sorted(set(lengths) - set(fitting))):
        raise CommandError(
            f"no session of {', '.join(map(count, beyond))} tokens fits: {count(result.max_model_len)} at most"
        )
    return 0


def _plan(service: InferenceService, shape: ModelShape, gpu: str | None, memory: str | None) -> tuple[str, MemoryPlan]:
    """The device in words, and the plan: for what the arguments name, else what the file names, else this machine."""
    accelerator, engine = service.spec.accelerator, service.spec.engine
    if engine.quantization in (Quantization.INT8, Quantization.INT4) and not (gpu is memory is None):
        raise CommandError(
            f"spec.engine.quantization: {engine.quantization} is a format of the cpu device; set it to fp8 or none to "
            "plan for a GPU, or leave out --gpu and --memory"
        )
    try:
        if memory is not None:
            device, memory_bytes = "a GPU", parse_bytes(memory)
        elif gpu is not None:
            device, memory_bytes = gpu, gpu_memory_bytes(gpu)
        elif runs_on_cpu(service):
            return "cpu", plan_on_cpu(service, shape)
        elif accelerator.memory is not None:
            device, memory_bytes = accelerator.product or "a GPU", accelerator.memory.num_bytes
        elif accelerator.product:
            device, memory_bytes = accelerator.product, gpu_memory_bytes(accelerator.product)
        else:
            raise CommandError("which GPU? Give --gpu or --memory, or spec.accelerator in the file")
        result = accelerator_plan(engine, shape, memory_bytes)
    except (QuantityError, UnknownGpuError, DoesNotFitError, ModelConfigError) as error:
        raise CommandError(str(error)) from error
    times = f"{engine.tensor_parallel_size} × " if engine.tensor_parallel_size > 1 else ""
    percent = engine.gpu_memory_utilization_percent
    return f"{times}{device} ({size(memory_bytes)}, of which {percent} % are used)", result


def _table(
    service: InferenceService, shape: ModelShape, device: str, result: MemoryPlan, sessions: dict[int, int]
) -> str:
    held, kv_dtype = result.quantization, result.kv_dtype
    rows = [
        (
            "model",
            f"{service.served_name}: {shape.architecture}, {count(result.parameters)} parameters, {result.dtype}",
        ),
        ("device", device),
        ("weights", size(result.weight_bytes) + ("" if held == "none" else f", linear layers in {held}")),
        ("largest step", f"{size(result.activation_bytes)} at most"),
        ("KV cache", size(result.pool_bytes)),
        ("total", f"{size(result.total_bytes)} a replica"),
        ("KV a token", size(result.kv_bytes_per_token) + ("" if kv_dtype == result.dtype else f", {kv_dtype}")),
        ("KV blocks", f"{count(result.num_blocks)} of {result.block_size} tokens, {size(sum(result.page_bytes))} each"),
        ("tokens", count(result.tokens)),
        ("longest sample", f"{count(result.max_model_len)} tokens"),
    ]
    if result.reserved_bytes:
        rows.insert(4, ("reserved", f"{size(result.reserved_bytes)} for driver, graphs and NCCL"))
    lines = [f"{label:<16}{text}" for label, text in rows]
    if result.max_model_len < result.wanted_model_len:
        lines.append(f"{'':<16}(wanted {count(result.wanted_model_len)}: the KV cache holds no more of one sample)")
    lines += ["", f"{'session length':>16}{'sessions at once':>20}"]
    lines += [f"{count(length):>16}{count(number):>20}" for length, number in sessions.items()]
    most = service.spec.engine.max_num_seqs
    if any(number > most for number in sessions.values()):
        lines.append(f"{'':<16}maxNumSeqs computes {count(most)} of them in one step; the others take turns.")
    return "\n".join(lines)


def _as_json(
    service: InferenceService, shape: ModelShape, device: str, result: MemoryPlan, sessions: dict[int, int]
) -> str:
    fields = {
        "model": service.served_name,
        "architecture": shape.architecture,
        "device": device,
        "dtype": result.dtype,
        "quantization": result.quantization,
        "kvCacheDtype": result.kv_dtype,
        "parameters": result.parameters,
        "weightBytes": result.weight_bytes,
        "activationBytes": result.activation_bytes,
        "reservedBytes": result.reserved_bytes,
        "kvCacheBytes": result.pool_bytes,
        "totalBytes": result.total_bytes,
        "kvBytesPerToken": result.kv_bytes_per_token,
        "blockSize": result.block_size,
        "blockBytes": sum(result.page_bytes),
        "blocks": result.num_blocks,
        "tokens": result.tokens,
        "maxModelLen": result.max_model_len,
        "sessions": {str(length): number for length, number in sessions.items()},
    }
    return json.dumps(fields, indent=2)
