"""Requests in and tokens out over gRPC. The front (no torch) and the core are two processes joined by a socket pair."""
