"""Which kit a rank computes with. What the other one needs is not imported."""

from pagelet_api.config import EngineConfig

from pagelet_engine.worker.accelerators import choose_device
from pagelet_engine.worker.device.kit import Kit


def choose_kit(config: EngineConfig, local_rank: int = 0) -> Kit:
    """That of the accelerator with this number in this pod, or of the CPU. Raises ModelError for a device that is not
    there, and for what it does not compute with."""
    device = choose_device(config.device, local_rank)
    if device.type == "cpu":
        from pagelet_engine.worker.device.cpu import cpu_kit

        return cpu_kit(config)
    from pagelet_engine.worker.device.cuda_kit import cuda_kit

    return cuda_kit(config, device)
