"""The server's tests: pure rooms in this process, the engine as a real process with a fake worker in its core."""
