"""How long a GPU takes for a step: a roofline with stated efficiencies. Pure arithmetic; one set of constants for all.

    step = overhead + max( FLOPs ÷ achievable FLOP/s,  bytes ÷ achievable bandwidth,  host copies ÷ PCIe )

FLOPs are 2 a parameter and token, and 4 × layers × width for each pair of a token and one it attends to. Bytes are all
weights once, the keys and values of every context once, those that are written, and blocks copied on the device (read
and written). Copies to and from the host overlap with the rest, and the two directions with each other.

Refuses to know who decided the step.
"""

from dataclasses import dataclass

from pagelet_engine.core.step import Step, Tier

GIB = 1 << 30
BYTES_A_NUMBER = 2
"""fp16 and bf16: weights, keys and values."""


@dataclass(frozen=True, slots=True)
class Gpu:
    """What the data sheet says: dense 16-bit FLOP/s, bytes a second of its memory, and of PCIe in one direction."""

    name: str
    memory_bytes: int
    flops_per_s: float
    bytes_per_s: float
    pcie_bytes_per_s: float


A100_40GB = Gpu("A100 40 GB", 40 * GIB, 312e12, 1.555e12, 32e9)
H100_80GB = Gpu("H100 80 GB", 80 * GIB, 989e12, 3.35e12, 64e9)


@dataclass(frozen=True, slots=True)
class Model:
    """As much of a model as its costs need."""

    name: str
    parameters: float
    layers: int
    width: int
    """Query heads × head_dim."""
    kv_width: int
    """Key-value heads × head_dim."""

    @property
    def weight_bytes(self) -> float:
        return self.parameters * BYTES_A_NUMBER

    @property
    def kv_bytes_per_token(self) -> int:
        """Keys and values of all layers."""
        return 2 * self.layers * self.kv_width * BYTES_A_NUMBER


OPT_13B = Model("OPT-13B", 13e9, layers=40, width=5120, kv_width=5120)
LLAMA_3_8B = Model("Llama-3-8B", 8.03e9, layers=32, width=4096, kv_width=1024)
MISTRAL_7B = Model("Mistral-7B", 7.24e9, layers=32, width=4096, kv_width=1024)


@dataclass(frozen=True, slots=True)
class Work:
    """What a step makes the device do."""

    tokens: int
    """Through all layers."""
    context_tokens: int
    """Whose keys and values are read, each context once."""
    attended_pairs: int
    """(token, token it attends to)."""
    device_copies: int = 0
    """Blocks."""
    copies_to_host: int = 0
    copies_from_host: int = 0

    @classmethod
    def of(cls, step: Step) -> "Work":
        tokens = context = pairs = 0
        for segment in step.segments:
            start, count = segment.start, segment.num_tokens
            tokens += count
            context += start + count
            pairs += count * start + count * (count + 1) // 2
        if not step.copies:
            return cls(tokens, context, pairs)
        ways = [(copy.source_tier, copy.destination_tier) for copy in step.copies]
        return cls(
            *(tokens, context, pairs, ways.count((Tier.DEVICE, Tier.DEVICE))),
            *(ways.count((Tier.DEVICE, Tier.HOST)), ways.count((Tier.HOST, Tier.DEVICE))),
        )


@dataclass(frozen=True, slots=True)
class CostModel:
    """One model on one GPU.

    The efficiencies are calibrated on a single figure of the PagedAttention paper (SOSP '23, fig. 13a): OPT-13B at two
    requests a second has 30.42 in its batch, so by Little's law each is there for 15.2 s, 45 ms for each of 338 tokens.
    Weights and 88 % of the pool are 37.4 GB: 40 ms at 60 % of the bandwidth, and 5 ms remain for everything else.
    """

    gpu: Gpu
    model: Model
    block_size: int = 16
    compute_efficiency: float = 0.5
    bandwidth_efficiency: float = 0.6
    pcie_efficiency: float = 0.8
    overhead_s: float = 5e-3

    def seconds(self, work: Work) -> float:
        host_s = self.copy_s(max(work.copies_to_host, work.copies_from_host))
        if not work.tokens:
            return self.overhead_s + host_s
        model, gpu = self.model, self.gpu
        flops = 2 * model.parameters * work.tokens + 4 * model.layers * model.width * work.attended_pairs
        moved_tokens = work.context_tokens + work.tokens + 2 * self.block_size * work.device_copies
        moved_bytes = model.weight_bytes + model.kv_bytes_per_token * moved_tokens
        compute_s = flops / (gpu.flops_per_s * self.compute_efficiency)
        memory_s = moved_bytes / (gpu.bytes_per_s * self.bandwidth_efficiency)
        return self.overhead_s + max(compute_s, memory_s, host_s)

    def copy_s(self, num_blocks: int) -> float:
        """Blocks between device and host, in one direction."""
        block_bytes = self.block_size * self.model.kv_bytes_per_token
        return num_blocks * block_bytes / (self.gpu.pcie_bytes_per_s * self.pcie_efficiency)

    def blocks_in(self, kv_bytes: int) -> int:
        """Blocks that this much memory holds."""
        return kv_bytes // (self.block_size * self.model.kv_bytes_per_token)
