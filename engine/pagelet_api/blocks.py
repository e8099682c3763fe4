"""Names of KV blocks: what lets the engine find a cached prefix, and the gateway know which engine has it.

A full block's name says everything its content depends on: SHA-256, of which 128 bits are kept, over the parent's name
and the block's own tokens. The first block's parent is a root, made of what is not in the tokens: the model, the type
of the cache, the tenant's salt, the adapter, media. So names cross no salt and no adapter, and two blocks of one name
hold the same keys and values. Pure functions; which blocks exist, and where, is not known here.
"""

import hashlib
import struct
from collections.abc import Iterator, Sequence

NAME_BYTES = 16


def root_name(
    model_digest: str, kv_dtype: str, salt: str = "", adapter: str = "", media: Sequence[bytes] = ()
) -> bytes:
    """The parent of a prompt's first block.

    `model_digest` is "sha256:…" of the model folder, `kv_dtype` the type of the cache ("bfloat16"), `salt` the
    tenant's, `adapter` the digest of a LoRA adapter or "", `media` the digests of a prompt's media in their order.
    """
    fields = [b"pagelet.io/block/1", *(text.encode() for text in (model_digest, kv_dtype, salt, adapter)), *media]
    # Each field with its length before it: no two lists of fields have the same bytes.
    return _name(b"".join(struct.pack("<Q", len(field)) + field for field in fields))


def block_name(parent: bytes, tokens: Sequence[int]) -> bytes:
    """The name of the full block that holds `tokens` (ids below 2³²) after the block, or root, named `parent`."""
    return _name(parent + struct.pack(f"<{len(tokens)}I", *tokens))


def chain(root: bytes, tokens: Sequence[int], block_size: int) -> Iterator[bytes]:
    """Names of the full blocks of a sequence, in order, made as they are asked for: a look-up ends at the first miss.

    A last block that is not full has no name.
    """
    parent = root
    for end in range(block_size, len(tokens) + 1, block_size):
        parent = block_name(parent, tokens[end - block_size : end])
        yield parent


def _name(content: bytes) -> bytes:
    return hashlib.sha256(content).digest()[:NAME_BYTES]
