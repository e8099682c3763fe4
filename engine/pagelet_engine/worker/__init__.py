"""Turns steps into tensors and back: slots, batches, the KV pool, sampling. Decides nothing about who runs when."""
