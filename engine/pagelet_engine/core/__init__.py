"""Decisions: which sample computes how many tokens next, and in which KV blocks. Torch is forbidden here."""
