"""Tests against a real control plane whose nodes are played by kwok: what the operator writes, and when."""
