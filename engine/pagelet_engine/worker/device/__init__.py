"""A step on a device: packed by one host, sent as one piece, and computed by every rank from the same numbers. One rank
is the case of one."""
