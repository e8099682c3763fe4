"""Decisions: which sample computes how many tokens next, and in which KV blocks. Knows no tensors: torch is forbidden."""
