"""The tests against a real Kubernetes, and the cluster they run in."""
