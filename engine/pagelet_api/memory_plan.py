"""What fits where: weights, KV blocks, tokens and sessions of one replica, before anything is loaded.

Pure arithmetic over `sizes`. `pagelet plan` prints it, and the operator's status.capacity states it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from pagelet_api import sizes
from pagelet_api.quantities import mib
from pagelet_api.sizes import FP8_KV_DTYPE, KvGroup, ModelShape, dtype_bytes

FEWEST_BLOCKS = 4
"""Of each group: an engine with fewer does not start."""
GRAPH_BYTES = 512 * 2**20
"""Of a GPU, reserved for CUDA graphs: their launches' arguments and the workspaces of libraries; what a graph computes
with is shared with the largest step."""
GROUP_BYTES = 512 * 2**20
"""Of each of several GPUs, reserved for the buffers of NCCL."""
CONTEXT_BYTES = 512 * 2**20
"""Of a GPU, taken by the driver for a process and its kernels: an estimate; an engine takes what it measures."""

PROMPT_LOGITS_BYTES = 32 * 2**20
"""Logits of a prompt's own tokens that are held at once, where their log probabilities are asked for."""


class DoesNotFitError(ValueError):
    """The model, or the fewest blocks, are larger than the memory; the message shows the sum."""


@dataclass(frozen=True, slots=True)
class MemoryPlan:
    """One replica's memory. All sizes in bytes."""

    dtype: str
    """Of weights and activations."""
    quantization: str
    """Of the weights of linear layers; "none": they are of `dtype`."""
    kv_dtype: str
    """Of the KV cache: `dtype`, or sizes.FP8_KV_DTYPE."""
    block_size: int
    """Tokens of one KV block."""
    groups: tuple[KvGroup, ...]
    parameters: int
    weight_bytes: int
    activation_bytes: int
    """Working memory of the largest step: an estimate from above."""
    reserved_bytes: int
    """Of GPUs, taken by the driver, and kept for graphs and NCCL."""
    kv_bytes_per_token: int
    page_bytes: tuple[int, ...]
    """Of one block, by group."""
    pool_bytes: int
    """Given to the KV cache."""
    num_blocks: int
    """Blocks of each group."""
    max_model_len: int
    """Tokens of prompt and output of one sample: as asked for, or as many as the pool holds for one."""
    wanted_model_len: int
    """As asked for, or as many as the model was made for."""

    @property
    def tokens(self) -> int:
        """Tokens that the KV cache holds at once."""
        return self.num_blocks * self.block_size

    @property
    def total_bytes(self) -> int:
        return self.weight_bytes + self.activation_bytes + self.reserved_bytes + self.pool_bytes

    def sessions(self, num_tokens: int) -> int:
        """Samples of `num_tokens` each, prompt and output, that are held at once when they share nothing."""
        return min(self.num_blocks // group.blocks_for(num_tokens, self.block_size) for group in self.groups)


def plan_pool(
    shape: ModelShape,
    *,
    pool_bytes: int,
    dtype: str = "auto",
    quantization: str = "none",
    kv_cache_dtype: str = "auto",
    block_size: int = 16,
    max_model_len: int = 0,
    max_num_batched_tokens: int = 2048,
    max_num_seqs: int = 256,
) -> MemoryPlan:
    """Plan with a given KV pool: the cpu device, where spec.engine.kvCacheMemory says it.

    Raises DoesNotFitError when the pool holds too few blocks, ModelConfigError when `max_model_len` is beyond the
    model's, or the model cannot be held in `quantization`.
    """
    dtype = sizes.resolve_dtype(dtype, shape)
    kv_dtype = sizes.resolve_kv_dtype(kv_cache_dtype, dtype)
    groups = sizes.kv_groups(shape)
    num_blocks = pool_blocks(pool_bytes, groups, block_size, kv_dtype)
    wanted = resolve_max_model_len(max_model_len, shape)
    fits = all(group.blocks_for(wanted, block_size) <= num_blocks for group in groups)
    return MemoryPlan(
        dtype=dtype,
        quantization=quantization,
        kv_dtype=kv_dtype,
        block_size=block_size,
        groups=groups,
        parameters=sizes.parameter_count(shape),
        weight_bytes=sizes.weight_bytes(shape, dtype, quantization),
        activation_bytes=activation_bytes(shape, dtype, max_num_batched_tokens, max_num_seqs),
        kv_bytes_per_token=sizes.kv_bytes_per_token(groups, kv_dtype),
        page_bytes=tuple(sizes.page_bytes(group, block_size, kv_dtype) for group in groups),
        reserved_bytes=0,
        pool_bytes=pool_bytes,
        num_blocks=num_blocks,
        max_model_len=wanted if fits else num_blocks * block_size,
        wanted_model_len=wanted,
    )


def plan_gpu(
    shape: ModelShape,
    *,
    memory_bytes: int,
    utilization_percent: int,
    tensor_parallel_size: int = 1,
    dtype: str = "auto",
    quantization: str = "none",
    kv_cache_dtype: str = "auto",
    block_size: int = 16,
    max_model_len: int = 0,
    max_num_batched_tokens: int = 2048,
    max_num_seqs: int = 256,
) -> MemoryPlan:
    """Plan for GPUs of `memory_bytes` each: the pool is what weights and the largest step leave of the share taken.

    Several GPUs split weights and KV heads; every one of them computes its own largest step, and KV heads that are
    fewer than the GPUs are held more than once.

    Raises DoesNotFitError, with the sum, when they leave too little, and ModelConfigError as plan_pool does.
    """
    resolved = sizes.resolve_dtype(dtype, shape)
    share = memory_bytes * utilization_percent // 100
    usable = tensor_parallel_size * share
    kv_dtype = sizes.resolve_kv_dtype(kv_cache_dtype, resolved)
    weights = sizes.weight_bytes(shape, resolved, quantization)
    activations = tensor_parallel_size * activation_bytes(shape, resolved, max_num_batched_tokens, max_num_seqs)
    reserved = tensor_parallel_size * (CONTEXT_BYTES + reserved_bytes(tensor_parallel_size))
    # Ranks beyond the number of KV heads hold copies.
    held = replace(shape, num_kv_heads=max(shape.num_kv_heads, tensor_parallel_size))
    block = sum(sizes.page_bytes(group, block_size, kv_dtype) for group in sizes.kv_groups(held))
    wanted = weights + activations + reserved + FEWEST_BLOCKS * block
    if usable < wanted:
        times = f"{tensor_parallel_size} × " if tensor_parallel_size > 1 else ""
        raise DoesNotFitError(
            f"weights {mib(weights)} + largest step {mib(activations)} + reserves {mib(reserved)} + {FEWEST_BLOCKS} "
            f"KV blocks {mib(FEWEST_BLOCKS * block)} = {mib(wanted)}, but {times}{utilization_percent} % of "
            f"{mib(memory_bytes)} is {mib(usable)}; take a larger device, or a dtype of fewer bytes"
        )
    plan = plan_pool(
        held,
        pool_bytes=usable - weights - activations - reserved,
        dtype=resolved,
        quantization=quantization,
        kv_cache_dtype=kv_cache_dtype,
        block_size=block_size,
        max_model_len=max_model_len,
        max_num_batched_tokens=max_num_batched_tokens,
        max_num_seqs=max_num_seqs,
    )
    parameters = sizes.parameter_count(shape)
    return replace(
        plan, parameters=parameters, weight_bytes=weights, activation_bytes=activations, reserved_bytes=reserved
    )


def reserved_bytes(tensor_parallel_size: int) -> int:
    """Of one GPU of so many: what neither weights nor steps nor the pool may take."""
    return GRAPH_BYTES + (GROUP_BYTES if tensor_parallel_size > 1 else 0)


def resolve_max_model_len(wanted: int, shape: ModelShape) -> int:
    """Tokens of one sample that `wanted` means for this model: 0 is as many as it was made for.

    Raises ModelConfigError for more.
    """
    if wanted > shape.max_position:
        raise sizes.ModelConfigError(
            f"maxModelLen: wanted {wanted} tokens, the model was made for {shape.max_position}; lower it"
        )
    return wanted or shape.max_position


def pool_blocks(pool_bytes: int, groups: Sequence[KvGroup], block_size: int, kv_dtype: str) -> int:
    """Blocks of each group that a pool holds. Raises DoesNotFitError, with the sum, when they are too few to serve."""
    found = sizes.num_blocks(pool_bytes, groups, block_size, kv_dtype)
    if found < FEWEST_BLOCKS:
        block = sum(sizes.page_bytes(group, block_size, kv_dtype) for group in groups)
        terms = " + ".join(
            f"{len(g.layers)} layers × 2 (K, V) × {g.num_kv_heads} heads × {block_size} tokens × "
            + (f"({g.head_dim} + 4) B" if kv_dtype == FP8_KV_DTYPE else f"{g.head_dim} × {dtype_bytes(kv_dtype)} B")
            for g in groups
        )
        raise DoesNotFitError(
            f"a KV cache of {pool_bytes} bytes holds {found} blocks of {block} bytes ({terms}); "
            f"wanted at least {FEWEST_BLOCKS} blocks: give it {FEWEST_BLOCKS * block} bytes or more"
        )
    return found


def activation_bytes(shape: ModelShape, dtype: str, max_num_batched_tokens: int, max_num_seqs: int) -> int:
    """Working memory of the largest step, from above: the widest layer's tensors, then logits and their sorted copy.

    A token needs its residual and normed hidden state, q, k, v and the attention's output, and the MLP's gate, up and
    product, or of each of its experts the product and the output, and their sum; a sampled row needs fp32 logits three
    times (raw, processed, sorted) and an index. A prompt's log probabilities come after that, beside the raw logits:
    fp32 logits twice (raw, exponentials), and a comparison.
    """
    qkv = (2 * shape.num_heads + 2 * shape.num_kv_heads) * shape.head_dim
    experts = shape.experts_per_token * (shape.expert_intermediate_size + shape.hidden_size) + shape.hidden_size
    widest = 2 * shape.hidden_size + max(qkv, 3 * shape.intermediate_size, experts if shape.expert_layers else 0)
    rows = min(max_num_seqs, max_num_batched_tokens)
    prompt_rows = prompt_logits_rows(shape.vocab_size, max_num_batched_tokens)
    logits = shape.vocab_size * max(rows * (3 * 4 + 8), rows * 4 + prompt_rows * (2 * 4 + 4))
    return max_num_batched_tokens * widest * dtype_bytes(dtype) + logits


def prompt_logits_rows(vocab_size: int, max_num_batched_tokens: int) -> int:
    """Rows of a prompt's logits that are made at once: by their bytes, however many samples run."""
    return min(max_num_batched_tokens, max(1, PROMPT_LOGITS_BYTES // (4 * vocab_size)))
