"""`pytest tests/engine/core --hypothesis-profile=nightly` walks far longer than `make test` does."""

from hypothesis import HealthCheck, settings

settings.register_profile(
    "nightly",
    max_examples=20_000,
    stateful_step_count=200,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
