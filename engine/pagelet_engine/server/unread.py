"""What a client has not taken of one request: one growing update, and how far its client lags behind.

Owns the merging. Refuses to know bounds: who asks for too much is decided where all requests are known (in_flight.py).
"""

from pagelet_api import inference_pb2 as pb


class Unread:
    """The updates of one request since its client last took one, merged into one."""

    __slots__ = ("_has_own_arena", "lag_bytes", "num_bytes", "update")

    def __init__(self, update: pb.RequestUpdate, num_bytes: int) -> None:
        self.update = update
        self.num_bytes = num_bytes
        """Of all of it, serialised; 0: not counted, as it came in the step that the client takes next anyway."""
        self.lag_bytes = 0
        """Of what has joined since: the first update, which may be a long prompt's logprobs, is no delay."""
        self._has_own_arena = False

    def join(self, later: pb.RequestUpdate) -> int:
        """Append what follows; returns by how much `num_bytes` has grown."""
        later_bytes = later.ByteSize()
        grown_bytes = later_bytes
        if not self._has_own_arena:
            # A message of a step's frame keeps the memory of that whole frame, and what joins would be added to it.
            first, self.update = self.update, pb.RequestUpdate()
            self.update.CopyFrom(first)
            self._has_own_arena = True
            if not self.num_bytes:
                grown_bytes += first.ByteSize()
        self.num_bytes += grown_bytes
        self.lag_bytes += later_bytes
        _merge(later, self.update)
        return grown_bytes

    def replace(self, update: pb.RequestUpdate) -> None:
        """Forget all of it and say this instead."""
        self.update, self.num_bytes, self.lag_bytes = update, 0, 0


def _merge(update: pb.RequestUpdate, into: pb.RequestUpdate) -> None:
    """Join what follows to what came before, both of one request."""
    entries = {sample.index: sample for sample in into.samples}
    for sample in update.samples:
        if earlier := entries.get(sample.index):
            earlier.MergeFrom(sample)
        else:
            into.samples.append(sample)
    update.ClearField("samples")
    into.MergeFrom(update)
