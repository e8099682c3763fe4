"""Rotary embedding of queries and keys, and the new keys' and values' way into the cache, in one op."""

from torch import Tensor


def rope_kv_write(qkv: Tensor, rotary: Tensor, kv_rows: Tensor, slot_mapping: Tensor, num_kv_heads: int) -> Tensor:
    """Rotate queries and keys in fp32, write keys and values into the cache, return the queries.

    qkv          (tokens, heads + 2 × kv_heads, head_dim): queries, keys, values; overwritten
    rotary       (tokens, 2, head_dim) fp32: cos|cos and -sin|sin of each token's position (layers/rotary.py)
    kv_rows      (rows, 2, kv_heads, head_dim): this layer's cache, one row a token slot (see paged_attention)
    slot_mapping (tokens,) int64: the row of each token
    returns      (tokens, heads, head_dim), a view of qkv

    With x = (a, b) in halves: (a·cos - b·sin, b·cos + a·sin), the pairing that Hugging Face checkpoints are stored for.
    """
    tokens, heads, head_dim = qkv.shape
    rotated = qkv[:, : heads - num_kv_heads]
    cos, sin = rotary[:, None].unbind(2)  # (tokens, 1, head_dim) each
    wide = rotated.float()
    rotated.copy_((wide * cos).addcmul_(wide.roll(head_dim // 2, -1), sin))
    new = qkv[:, heads - 2 * num_kv_heads :].reshape(tokens, -1)
    kv_rows.view(len(kv_rows), -1).index_copy_(0, slot_mapping, new)
    return qkv[:, : heads - 2 * num_kv_heads]
