"""Which device a process computes on: what was asked for, and what machine, device and build of torch offer."""

import torch
from pagelet_api.config import Device, EngineConfig, KvCacheDtype, Quantization

from pagelet_engine.worker.model_facts import ModelError


def choose_device(wanted: Device, local_rank: int = 0) -> torch.device:
    """The accelerator of this number in this pod, or the CPU. Raises ModelError for one that is not there."""
    if wanted is Device.CPU:
        return torch.device("cpu")
    available = torch.cuda.is_available()
    if wanted is Device.AUTO and not available:
        return torch.device("cpu")
    built_for = Device.ROCM if torch.version.hip else Device.CUDA
    if not available or wanted not in (Device.AUTO, built_for):
        found = f"no usable device (torch {torch.__version__} is built for {built_for})"
        raise ModelError(f"device: wanted {wanted}, found {found}; choose device cpu, or start where one is")
    if local_rank >= (found_count := torch.cuda.device_count()):
        raise ModelError(
            f"tensorParallelSize: wanted {local_rank + 1} accelerators or more in this pod, found {found_count}; "
            "give the pod more, or lower it"
        )
    return torch.device("cuda", local_rank)


def refuse_gpu_formats(config: EngineConfig) -> None:
    """Raises ModelError for weights, or a KV cache, that nothing on a CPU computes with."""
    advice = "which GPUs compute with, and the engine computes on a CPU; set"
    if config.quantization is Quantization.FP8:
        raise ModelError(f"quantization: fp8 wanted, {advice} none, int8 or int4")
    if config.kv_cache_dtype is KvCacheDtype.FP8:
        raise ModelError(f"kvCacheDtype: fp8 wanted, {advice} auto")
