"""The contracts between engine, gateway and operator.

Owns the wire (protobuf, OpenAI bodies), the `InferenceService` types, the configuration each part is started with,
sizes, block names, and every name that two parts must agree on. Knows no part, no tensors, no servers.
"""
