"""The processes of an engine's ranks: found, started, joined, watched, ended. What they compute is `worker.device`."""
