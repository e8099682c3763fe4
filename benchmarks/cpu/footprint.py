"""What a service takes while nobody asks it anything: processor time, and memory beyond weights and KV pool."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

from cpu.contenders import Contender
from cpu.processes import ProcessTree
from cpu.subject import Subject
from local_server import Server
from pagelet_api import names, sizes


@dataclass(frozen=True, slots=True)
class Beyond:
    """Pagelet's memory, in bytes."""

    private_bytes: int
    """Anonymous and shared memory of all its processes."""
    mapped_weights_bytes: int
    """Resident bytes of the model's files."""
    weight_bytes: int
    """What the weights need, once."""
    pool_bytes: int
    """Of the KV pool: the blocks that are or were in use, because no other page of it need be resident."""
    pool_is_full: bool
    """All blocks of the pool have been used; else pages that are resident all the same count as beyond."""
    file_bytes: int
    """All mapped files, libraries above all; not part of the sum."""

    @property
    def beyond_bytes(self) -> int:
        """What is neither weights nor pool. A second copy of the weights, mapped or not, counts."""
        return self.private_bytes + self.mapped_weights_bytes - self.weight_bytes - self.pool_bytes


def beyond_weights_and_pool(server: Server, subject: Subject) -> Beyond:
    """Of a service that has worked."""
    tree = ProcessTree(server.local.process.pid)
    metrics = server.engine_metrics()
    groups, block_size = sizes.kv_groups(subject.shape), subject.spec.engine.block_size
    block_bytes = sum(sizes.page_bytes(group, block_size, subject.dtype) for group in groups)
    touched = int(metrics[names.METRIC_BLOCKS_IN_USE] + metrics[names.METRIC_BLOCKS_CACHED])
    memory = tree.memory()
    return Beyond(
        memory.private_bytes,
        tree.mapped_bytes(subject.folder),
        subject.weight_bytes,
        touched * block_bytes,
        touched == int(metrics[names.METRIC_BLOCKS_TOTAL]),
        memory.file_bytes,
    )


def idle_cores(contenders: Sequence[Contender], seconds: float) -> dict[str, float]:
    """By name: cores in use while nobody asks anything, of those whose processes are known."""
    known = {contender.name: contender.tree for contender in contenders if contender.tree}
    before_s = {name: tree.cpu_s() for name, tree in known.items()}
    began_s = time.monotonic()
    time.sleep(seconds)
    took_s = time.monotonic() - began_s
    return {name: (tree.cpu_s() - before_s[name]) / took_s for name, tree in known.items()}
