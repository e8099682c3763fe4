"""The API server, as the operator uses it: a client, a cache of what it showed, a lease, Events.

Owns I/O. Refuses to decide what should exist.
"""
