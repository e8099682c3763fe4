"""What an S3 service's refusal means to whoever wrote the resource. Pure: the client's text in, a failure out.

Codes are matched, never messages: Ceph's RADOS gateway sends none.
Codes: https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html
"""

import re

from pagelet_api.model_report import FailureReason

from pagelet_engine.fetcher.failure import FetchFailed, Interrupted

_STATUS = re.compile(r"status code: (\d{3})")
_CODE = re.compile(r"<Code>(\w+)</Code>")

_UNKNOWN_KEY = (
    FailureReason.WRONG_CREDENTIALS,
    "the service does not know the access key: correct AWS_ACCESS_KEY_ID in the Secret of credentialsSecretRef",
)
_OTHER_REGION = (
    FailureReason.SOURCE_NOT_FOUND,
    "the bucket {bucket} is in another region or at another endpoint: correct region and endpoint",
)
_NOT_ALLOWED = (
    FailureReason.WRONG_CREDENTIALS,
    "the access was refused: let this key list the bucket {bucket} and read its objects, or name a Secret with "
    "another key in credentialsSecretRef",
)
_CHANGED = (FailureReason.MODEL_INCOMPLETE, "an object was replaced or removed while it was read: fetch again")

_CODES = {
    "InvalidAccessKeyId": _UNKNOWN_KEY,
    "XAdminUserNotFound": _UNKNOWN_KEY,  # versitygw
    "SignatureDoesNotMatch": (
        FailureReason.WRONG_CREDENTIALS,
        "the secret key does not belong to the access key: correct AWS_SECRET_ACCESS_KEY in the Secret of "
        "credentialsSecretRef",
    ),
    "AccessDenied": _NOT_ALLOWED,
    "ExpiredToken": _NOT_ALLOWED,
    "AllAccessDisabled": _NOT_ALLOWED,
    "RequestTimeTooSkewed": (
        FailureReason.SOURCE_UNREACHABLE,
        "the clocks of the service and of this node differ too much: set them right",
    ),
    "NoSuchBucket": (
        FailureReason.SOURCE_NOT_FOUND,
        "there is no bucket {bucket}: correct uri, or the endpoint if it is another service's",
    ),
    "InvalidBucketName": (FailureReason.SOURCE_NOT_FOUND, "{bucket} is no bucket's name there: correct uri"),
    "NoSuchKey": _CHANGED,
    "PreconditionFailed": _CHANGED,
    "InvalidRange": _CHANGED,
    "PermanentRedirect": _OTHER_REGION,
    "TemporaryRedirect": _OTHER_REGION,
    "AuthorizationHeaderMalformed": _OTHER_REGION,
    "IllegalLocationConstraintException": _OTHER_REGION,
}
_STATUSES = {
    301: _OTHER_REGION,
    307: _OTHER_REGION,
    401: _NOT_ALLOWED,
    403: _NOT_ALLOWED,
    404: (FailureReason.SOURCE_NOT_FOUND, "there is no such thing there: correct uri and endpoint"),
    412: _CHANGED,
    416: _CHANGED,
}
_LATER = (408, 429)


def s3_failure(text: str, source: str, bucket: str) -> FetchFailed | None:
    """The failure that an error of the client stands for; None when the service did not answer at all."""
    status_found, code_found = _STATUS.search(text), _CODE.search(text)
    status, code = int(status_found[1]) if status_found else 0, code_found[1] if code_found else ""
    if code in _CODES or status in _STATUSES:
        reason, sentence = _CODES.get(code) or _STATUSES[status]
        return FetchFailed(reason, f"{source}: {sentence.format(bucket=bucket)} ({_answer(status, code)})")
    if not status:
        return None
    if status >= 500 or status in _LATER:
        return Interrupted(
            FailureReason.SOURCE_UNREACHABLE,
            f"{source}: the service is not well ({_answer(status, code)}); see its log",
        )
    return FetchFailed(
        FailureReason.SOURCE_UNREACHABLE,
        f"{source}: the service refused the request ({_answer(status, code)}); is this an S3 endpoint?",
    )


def _answer(status: int, code: str) -> str:
    return f"{status} {code}".strip() if status else code
