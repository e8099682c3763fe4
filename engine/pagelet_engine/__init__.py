"""The engine: tokens and tensors. Scheduling, KV cache, models, kernels, sampling; gRPC in and out.

Knows no text, no HTTP (metrics and probes aside), no Kubernetes.
"""
