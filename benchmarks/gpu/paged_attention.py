"""Paged attention at the heads of an 8B Llama: decodes as a share of the memory's bandwidth, prompts as a share of the
peak FLOP/s, beside torch's attention over contiguous keys and values, and beside flex_attention.

Shapes whose cache would not fit into the GPU twice (once for the others) are left out.
"""

from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from gpu.timing import Peaks, Row, device_peaks, rotation, seconds_a_call
from pagelet_engine.kernels.triton.attention_tiles import choose_splits
from pagelet_engine.kernels.triton.paged_attention import paged_attention
from torch import Tensor
from torch.nn.attention.flex_attention import create_block_mask, flex_attention

HEADS, KV_HEADS, HEAD_DIM, BLOCK_SIZE = 32, 8, 128, 16
DTYPE = torch.bfloat16
SCALE = HEAD_DIM**-0.5
TOKEN_BYTES = 2 * KV_HEADS * HEAD_DIM * DTYPE.itemsize

DECODES = (
    (32, 4096),
    (128, 4096),
    (32, 32768),
    (256, 8192),
    (1, 8192),
    (1, 32768),
    (8, 8192),
    (256, 1024),
    (32, 1024),
    (1, 1024),
)
"""(batch, context), the most important first: flex_attention is compiled for each, and time may be over."""
PROMPTS = (1024, 4096, 8192, 16384)


def measure() -> Iterator[Row]:
    """One row a shape; needs a GPU."""
    peaks = device_peaks()
    for tokens in PROMPTS:
        yield _prompt(tokens, peaks)
    for batch, context in DECODES:
        if _fits(batch * context):
            yield _decode(batch, context, peaks)


def _fits(cached_tokens: int) -> bool:
    free, _ = torch.cuda.mem_get_info()
    return 2 * cached_tokens * TOKEN_BYTES < 0.9 * (free + torch.cuda.memory_reserved() - torch.cuda.memory_allocated())


def _decode(batch: int, context: int, peaks: Peaks) -> Row:
    kv_bytes = batch * context * TOKEN_BYTES
    others_kv = [_random(2, batch, KV_HEADS, context, HEAD_DIM) for _ in range(rotation(kv_bytes))]
    query = _random(batch, HEADS, 1, HEAD_DIM)
    beside = _others(query, others_kv, causal=False)
    copies = len(others_kv)
    del others_kv
    seconds = seconds_a_call(list(_paged(batch, 1, context, copies)))
    case = f"decode, batch {batch}, context {context}"
    return Row.of_bytes("paged_attention", case, seconds, kv_bytes, peaks, **beside)


def _prompt(tokens: int, peaks: Peaks) -> Row:
    query = _random(1, HEADS, tokens, HEAD_DIM)
    beside = _others(query, [_random(2, 1, KV_HEADS, tokens, HEAD_DIM)], causal=True)
    seconds = seconds_a_call(list(_paged(1, tokens, tokens, 1)))
    flop = 2 * HEADS * HEAD_DIM * tokens**2  # two products of 2 · tokens² · head_dim each, and half of them is masked
    return Row.of_flop("paged_attention", f"prompt of {tokens}", seconds, flop, peaks.bf16_flop_per_s, **beside)


def _paged(batch: int, query_len: int, context: int, copies: int) -> Iterator[Callable[[], Tensor]]:
    """A step of equal sequences, whose blocks are scattered over a pool; each copy has blocks of its own."""
    blocks = context // BLOCK_SIZE
    pool = _random(copies * batch * blocks, BLOCK_SIZE, 2, KV_HEADS, HEAD_DIM)
    tables = torch.randperm(len(pool), device="cuda").to(torch.int32).view(copies, batch, blocks)
    query = _random(batch * query_len, HEADS, HEAD_DIM)
    cu_query_lens = torch.arange(batch + 1, device="cuda", dtype=torch.int32) * query_len
    seq_lens = torch.full((batch,), context, device="cuda", dtype=torch.int32)
    seq_slots = torch.arange(batch, device="cuda", dtype=torch.int32)
    num_sms = torch.cuda.get_device_properties().multi_processor_count
    num_splits = choose_splits(batch, KV_HEADS, context, num_sms) if query_len == 1 else 1
    out = torch.empty_like(query)
    for table in tables:
        yield lambda table=table: paged_attention(
            query,
            pool,
            table,
            cu_query_lens,
            seq_lens,
            seq_slots,
            scale=SCALE,
            max_query_len=query_len,
            num_splits=num_splits,
            out=out,
        )


def _others(query: Tensor, kv: list[Tensor], *, causal: bool) -> dict[str, float]:
    """Seconds that torch takes for query (batch, heads, tokens, head_dim) over each of (2, batch, kv_heads, context,
    head_dim)."""
    tokens = query.shape[2]
    mask = create_block_mask(_causal, None, None, tokens, tokens, device="cuda") if causal else None
    # Anew for each shape: what was compiled for others would count against torch's limit of recompilations.
    torch.compiler.reset()
    flex = torch.compile(flex_attention, dynamic=False)
    return {
        "sdpa": seconds_a_call(
            [
                lambda k=k, v=v: F.scaled_dot_product_attention(query, k, v, is_causal=causal, enable_gqa=True)
                for k, v in kv
            ]
        ),
        "flex_attention": seconds_a_call(
            [lambda k=k, v=v: flex(query, k, v, block_mask=mask, enable_gqa=True) for k, v in kv]
        ),
    }


def _causal(batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
    return query >= key


def _random(*shape: int) -> Tensor:
    return torch.empty(shape, dtype=DTYPE, device="cuda").normal_()
