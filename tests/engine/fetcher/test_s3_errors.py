"""What an S3 service's refusals mean; the texts are those of the client, with the codes of Ceph, AWS and others."""

import pytest
from pagelet_api.model_report import FailureReason
from pagelet_engine.fetcher.failure import Interrupted
from pagelet_engine.fetcher.s3_errors import s3_failure


def refusal(status, code="", message="None"):
    body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{message}</Message></Error>" if code else ""
    text = f"Error performing GET https://x/y in 1ms - Server returned non-2xx status code: {status}: {body}"
    return s3_failure(text, "s3://b/p at https://x", "b")


@pytest.mark.parametrize(
    ("status", "code", "reason", "sentence"),
    [
        (403, "InvalidAccessKeyId", FailureReason.WRONG_CREDENTIALS, "AWS_ACCESS_KEY_ID"),
        (403, "SignatureDoesNotMatch", FailureReason.WRONG_CREDENTIALS, "AWS_SECRET_ACCESS_KEY"),
        (403, "AccessDenied", FailureReason.WRONG_CREDENTIALS, "list the bucket b"),
        (403, "", FailureReason.WRONG_CREDENTIALS, "credentialsSecretRef"),
        (403, "RequestTimeTooSkewed", FailureReason.SOURCE_UNREACHABLE, "clocks"),
        (404, "NoSuchBucket", FailureReason.SOURCE_NOT_FOUND, "no bucket b"),
        (404, "", FailureReason.SOURCE_NOT_FOUND, "correct uri"),
        (301, "PermanentRedirect", FailureReason.SOURCE_NOT_FOUND, "another region"),
        (400, "AuthorizationHeaderMalformed", FailureReason.SOURCE_NOT_FOUND, "another region"),
        (412, "PreconditionFailed", FailureReason.MODEL_INCOMPLETE, "replaced"),
        (404, "NoSuchKey", FailureReason.MODEL_INCOMPLETE, "replaced or removed"),
        (400, "SomethingNew", FailureReason.SOURCE_UNREACHABLE, "SomethingNew"),
    ],
)
def test_a_code_means_what_a_person_can_act_on(status, code, reason, sentence):
    failed = refusal(status, code)
    assert failed
    assert not isinstance(failed, Interrupted)
    assert failed.failure.reason == reason
    assert sentence in failed.failure.message
    assert "s3://b/p at https://x" in failed.failure.message


@pytest.mark.parametrize(("status", "code"), [(503, "SlowDown"), (500, "InternalError"), (429, ""), (502, "")])
def test_a_service_that_is_not_well_is_worth_another_try(status, code):
    assert isinstance(refusal(status, code), Interrupted)


def test_no_answer_is_for_others_to_explain():
    assert s3_failure("HTTP error: error sending request", "s3://b", "b") is None
