"""What the front knows of its core: the model it has loaded, when it was last heard, and its last words."""

from collections.abc import Callable

from pagelet_api import inference_pb2 as pb

from pagelet_engine.server.health import Health, Phase, judge


class CoreStatus:
    """`step_timeout_s` is how long a core that serves may be silent."""

    def __init__(self, step_timeout_s: float, clock_s: Callable[[], float]) -> None:
        self.model: pb.ModelInfo | None = None
        """None until the engine is ready."""
        self.last_words = ""
        """Why the core says it is about to exit."""
        self._step_timeout_s = step_timeout_s
        self._clock_s = clock_s
        self._heard_s = clock_s()

    def heard(self) -> None:
        """A frame came from the core."""
        self._heard_s = self._clock_s()

    def health(self, load: pb.Load, forgotten_s: float) -> Health:
        """The engine's health now; `load` is that of the core's last step, `forgotten_s` as in `judge`."""
        phase = Phase.DRAINING if load.draining else Phase.SERVING
        if self.model is None:
            phase = Phase.LOADING
        return judge(phase, self._clock_s() - self._heard_s, self._step_timeout_s, load.step, forgotten_s)
