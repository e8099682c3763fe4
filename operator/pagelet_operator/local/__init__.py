"""The local runtime: runs the containers of rendered pods as processes of this machine.

Owns processes, their probes, restarts, addresses, folders and logs. Refuses to know what the containers do, and what an
InferenceService is: it is given Kubernetes objects, and honours the part of them that a single machine can.
"""
