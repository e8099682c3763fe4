"""`pytest tests/engine/core --hypothesis-profile=nightly` walks a million steps; `make test` some ten thousand."""

from hypothesis import settings

settings.register_profile("nightly", max_examples=20_000, stateful_step_count=100)
