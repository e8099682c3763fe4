"""What a hub's refusal means to whoever wrote the resource. Pure: status and X-Error-Code in, a failure out."""

from pagelet_api.model_report import FailureReason

from pagelet_engine.fetcher.failure import FetchFailed, Interrupted

_NAME_A_TOKEN = "name a Secret with a token that may read it in tokenSecretRef"

_CODES = {
    "RepoNotFound": (
        FailureReason.SOURCE_NOT_FOUND,
        f"there is no such repository, or it is not public: correct repo, or {_NAME_A_TOKEN}",
    ),
    "RevisionNotFound": (
        FailureReason.SOURCE_NOT_FOUND,
        "the repository has no such branch, tag or commit: correct revision",
    ),
    "EntryNotFound": (FailureReason.MODEL_INCOMPLETE, "a listed file is not there: fetch again"),
    "GatedRepo": (
        FailureReason.WRONG_CREDENTIALS,
        f"the repository is gated: accept its terms with the account that the token belongs to, and {_NAME_A_TOKEN}",
    ),
}
_STATUSES = {
    401: (FailureReason.WRONG_CREDENTIALS, f"the hub wants a token: {_NAME_A_TOKEN}"),
    403: (FailureReason.WRONG_CREDENTIALS, f"the access was refused: {_NAME_A_TOKEN}"),
    404: (FailureReason.SOURCE_NOT_FOUND, "there is no such repository or revision: correct repo, revision, endpoint"),
}
_WRONG_TOKEN = (
    FailureReason.WRONG_CREDENTIALS,
    "the hub does not take the token: store a valid one in the Secret of tokenSecretRef",
)
_LATER = (408, 429)


def hub_failure(status: int, code: str, source: str, has_token: bool) -> FetchFailed:
    """`code` is "storage" for an answer of the storage that the hub redirected to: its links expire."""
    if status >= 500 or status in _LATER or code == "storage":
        return Interrupted(
            FailureReason.SOURCE_UNREACHABLE, f"{source}: the service says to come again later ({status})"
        )
    if status == 401 and has_token:
        reason, sentence = _WRONG_TOKEN
    elif code in _CODES or status in _STATUSES:
        reason, sentence = _CODES.get(code) or _STATUSES[status]
    else:
        reason, sentence = FailureReason.SOURCE_UNREACHABLE, "the hub refused the request; is this a hub's address?"
    return FetchFailed(reason, f"{source}: {sentence} ({f'{status} {code}'.strip()})")
