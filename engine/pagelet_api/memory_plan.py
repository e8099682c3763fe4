"""What fits where: weights, KV blocks, tokens and sessions of one replica, before anything is loaded.

Pure arithmetic over `sizes`. `pagelet plan` prints it, and the operator's status.capacity states it.
"""

from dataclasses import dataclass

from pagelet_api import sizes
from pagelet_api.sizes import KvGroup, ModelShape

GPU_UTILIZATION_PERCENT = 90
"""Share of a GPU's memory that an engine takes; the rest is the driver's, the context's and the allocator's."""


class DoesNotFitError(ValueError):
    """The model and one sample are larger than the memory; the message shows the sum."""


@dataclass(frozen=True, slots=True)
class MemoryPlan:
    """One replica's memory. All sizes in bytes."""

    dtype: str
    """Of weights and KV cache."""
    block_size: int
    """Tokens of one KV block."""
    groups: tuple[KvGroup, ...]
    parameters: int
    weight_bytes: int
    activation_bytes: int
    """Working memory of the largest step: an estimate from above."""
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
        return self.weight_bytes + self.activation_bytes + self.pool_bytes

    def sessions(self, num_tokens: int) -> int:
        """Samples of `num_tokens` each, prompt and output, that are held at once when they share nothing."""
        return min(self.num_blocks // group.blocks_for(num_tokens, self.block_size) for group in self.groups)


def plan_pool(
    shape: ModelShape,
    *,
    pool_bytes: int,
    dtype: str = "auto",
    block_size: int = 16,
    max_model_len: int = 0,
    max_num_batched_tokens: int = 2048,
    max_num_seqs: int = 256,
) -> MemoryPlan:
    """Plan with a given KV pool: the cpu device, where spec.engine.kvCacheMemory says it.

    Raises DoesNotFitError when the pool holds no block, ModelConfigError when `max_model_len` is beyond the model's.
    """
    dtype = sizes.resolve_dtype(dtype, shape)
    groups = sizes.kv_groups(shape)
    num_blocks = sizes.num_blocks(pool_bytes, groups, block_size, dtype)
    page_bytes = tuple(sizes.page_bytes(group, block_size, dtype) for group in groups)
    if not num_blocks:
        raise DoesNotFitError(
            f"the KV cache holds no block: one of {block_size} tokens takes {_mib(sum(page_bytes))}, "
            f"the cache has {_mib(pool_bytes)}; give it more memory"
        )
    if max_model_len > shape.max_position:
        raise sizes.ModelConfigError(
            f"maxModelLen: wanted {max_model_len} tokens, the model was made for {shape.max_position}; lower it"
        )
    wanted = max_model_len or shape.max_position
    fits = all(group.blocks_for(wanted, block_size) <= num_blocks for group in groups)
    return MemoryPlan(
        dtype=dtype,
        block_size=block_size,
        groups=groups,
        parameters=sizes.parameter_count(shape),
        weight_bytes=sizes.weight_bytes(shape, dtype),
        activation_bytes=activation_bytes(shape, dtype, max_num_batched_tokens, max_num_seqs),
        kv_bytes_per_token=sizes.kv_bytes_per_token(groups, dtype),
        page_bytes=page_bytes,
        pool_bytes=pool_bytes,
        num_blocks=num_blocks,
        max_model_len=wanted if fits else num_blocks * block_size,
        wanted_model_len=wanted,
    )


def plan_gpu(
    shape: ModelShape,
    *,
    memory_bytes: int,
    utilization_percent: int = GPU_UTILIZATION_PERCENT,
    dtype: str = "auto",
    block_size: int = 16,
    max_model_len: int = 0,
    max_num_batched_tokens: int = 2048,
    max_num_seqs: int = 256,
) -> MemoryPlan:
    """Plan for one GPU: the pool is what weights and the largest step leave of the share an engine takes.

    Raises DoesNotFitError, with the sum, when they leave nothing.
    """
    resolved = sizes.resolve_dtype(dtype, shape)
    usable = memory_bytes * utilization_percent // 100
    weights = sizes.weight_bytes(shape, resolved)
    activations = activation_bytes(shape, resolved, max_num_batched_tokens, max_num_seqs)
    if usable <= weights + activations:
        raise DoesNotFitError(
            f"weights {_mib(weights)} + largest step {_mib(activations)} = {_mib(weights + activations)}, but "
            f"{utilization_percent} % of {_mib(memory_bytes)} is {_mib(usable)}; take a larger device, or a dtype of "
            "fewer bytes"
        )
    return plan_pool(
        shape,
        pool_bytes=usable - weights - activations,
        dtype=resolved,
        block_size=block_size,
        max_model_len=max_model_len,
        max_num_batched_tokens=max_num_batched_tokens,
        max_num_seqs=max_num_seqs,
    )


def activation_bytes(shape: ModelShape, dtype: str, max_num_batched_tokens: int, max_num_seqs: int) -> int:
    """Working memory of the largest step, from above: the widest layer's tensors, then logits and their sorted copy.

    A token needs its residual and normed hidden state, q, k, v and the attention's output, and the MLP's gate, up and
    product; a sampled row needs fp32 logits three times (raw, processed, sorted) and an index.
    """
    qkv = (2 * shape.num_heads + 2 * shape.num_kv_heads) * shape.head_dim
    widest = 2 * shape.hidden_size + max(qkv, 3 * shape.intermediate_size)
    rows = min(max_num_seqs, max_num_batched_tokens)
    return max_num_batched_tokens * widest * sizes.dtype_bytes(dtype) + rows * shape.vocab_size * (3 * 4 + 8)


def _mib(num_bytes: int) -> str:
    return f"{num_bytes / 2**20:,.0f} MiB"
