"""Every launch that an engine of some configuration may make, made once, so that all its kernels are compiled.

Weights and cache are tensors without numbers: what is launched needs their shapes alone. So this runs where launches
compile and do not run (kernels/triton/compile_only.py), and needs neither a GPU nor the model's weights. Kernels do not
depend on how many multiprocessors a GPU has, nor on its memory: one target's are compiled for all GPUs of that target.
"""

import torch
from pagelet_api import sizes
from pagelet_api.config import EngineConfig
from pagelet_api.memory_plan import prompt_logits_rows
from pagelet_api.sizes import KvGroup
from torch import Tensor

from pagelet_engine.kernels.sampling_table import SamplingTable
from pagelet_engine.kernels.triton.attention_tiles import choose_splits
from pagelet_engine.kernels.triton.block_copy import copy_blocks
from pagelet_engine.layers.backend import Backend
from pagelet_engine.layers.fp8 import QuantizedPart
from pagelet_engine.layers.triton import TritonBackend
from pagelet_engine.models.registry import Model, build_model
from pagelet_engine.worker.blueprint import Blueprint
from pagelet_engine.worker.device.cuda_kit import OPS, weight_format
from pagelet_engine.worker.device.execution import EagerForward, Forward, SlotState
from pagelet_engine.worker.device.graphs import graph_sizes
from pagelet_engine.worker.device.loading import new_state
from pagelet_engine.worker.device.rehearsal import Rehearsal, pad, padding_header
from pagelet_engine.worker.device.sampling import MAX_BIAS, MAX_FORBIDDEN
from pagelet_engine.worker.device.triton_batches import TritonBatches
from pagelet_engine.worker.kv_pool import KvPool

_ANY_NUM_SMS = 1 << 20
"""More than any GPU has: the length of the context alone then decides how often attention splits it."""


class Shapes:
    """Implements `layers.ranks.Ranks` for rank 0 of several that are not there. All ranks launch the same kernels."""

    rank = 0

    def __init__(self, size: int) -> None:
        self.size = size

    def all_reduce(self, x: Tensor) -> Tensor:
        return x

    def all_gather(self, x: Tensor) -> Tensor:
        return x.new_empty(len(x), self.size * x.shape[1])


def launch_everything(blueprint: Blueprint, config: EngineConfig, device: torch.device) -> None:
    """device: of the tensors that stand in for real ones; "meta" is enough.

    Raises ModelError and ModelConfigError for what no GPU computes with.
    """
    sizes.check_spread(blueprint.shape, config.tensor_parallel_size)
    groups = sizes.kv_groups(blueprint.shape, config.tensor_parallel_size)
    linears = weight_format(config, blueprint.dtype, device)
    ranks = Shapes(config.tensor_parallel_size)
    model = _outline(blueprint, TritonBackend(blueprint.dtype, device, _ANY_NUM_SMS, ranks, linears))
    state = new_state(blueprint, config, len(groups), device)
    table = SamplingTable.empty(config.max_num_seqs, blueprint.shape.vocab_size, MAX_BIAS, MAX_FORBIDDEN, device)
    for num_blocks in (1, _many_blocks(groups, config.block_size, blueprint.kv_dtype_name)):
        pool = KvPool(groups, num_blocks, config.block_size, blueprint.kv_dtype, device)
        forward = EagerForward(model, TritonBatches(pool, state), state)
        longest = blueprint.max_model_len
        tokens = config.max_num_batched_tokens
        prompt_rows = prompt_logits_rows(blueprint.shape.vocab_size, tokens)
        Rehearsal(model, forward, state, tokens, config.max_num_seqs, prompt_rows, longest, OPS, table).every_launch()
        for size in graph_sizes(config.max_num_seqs):
            _decode(forward, state, size, longest)
        for context in _contexts(longest):
            _decode(forward, state, 1, context)
        for pages in pool.bytes:
            copy_blocks(pages, torch.zeros(1, 2, dtype=torch.int32, device=device))


def _outline(blueprint: Blueprint, backend: Backend) -> Model:
    """The model without its weights, and what loading them launches."""
    model = build_model(blueprint.shape, blueprint.raw, backend)
    dtype = getattr(torch, blueprint.shape.checkpoint_dtype)
    for name, destination in model.load().items():
        if isinstance(destination, QuantizedPart):
            destination.fill(name, torch.empty(destination.part.shape, dtype=dtype, device=backend.device))
    return model


@torch.inference_mode()
def _decode(forward: Forward, state: SlotState, num_seqs: int, context: int) -> None:
    header = padding_header(num_seqs, num_seqs, context, len(state.block_tables), graph=True)
    pad(state, header)
    forward(header)


def _many_blocks(groups: tuple[KvGroup, ...], block_size: int, kv_dtype: str) -> int:
    """So many that each group has more bytes than 31 bits count: compiled otherwise for AMD's GPUs."""
    return 2**31 // min(sizes.page_bytes(group, block_size, kv_dtype) for group in groups) + 1


def _contexts(longest: int) -> list[int]:
    """Contexts for which a lone sequence is split in each of the ways that any step's sequences may be."""
    doublings = [min(1 << power, longest) for power in range(longest.bit_length() + 1)]
    return list({choose_splits(1, 1, context, _ANY_NUM_SMS): context for context in doublings}.values())
