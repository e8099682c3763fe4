"""Why a model did not come, in the words of the report. Sources raise these and nothing else."""

from pagelet_api.model_report import FailureReason, ModelFailure


class FetchFailed(Exception):
    """The end: trying again would bring the same. The message names the source and what to do, and holds no secret."""

    def __init__(self, reason: FailureReason, message: str) -> None:
        super().__init__(message)
        self.failure = ModelFailure(reason=reason, message=message)


class Interrupted(FetchFailed):
    """Worth trying again: no answer, a broken connection, a server that says "later"."""
