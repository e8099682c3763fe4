"""Tests against a real kubelet: containers that start, serve, drain and die."""
