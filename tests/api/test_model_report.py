"""The report: what the kubelet keeps of it is what the operator reads."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pagelet_api.model_report import MAX_BYTES, FailureReason, ModelFacts, ModelFailure, ModelReport
from pagelet_api.sizes import ModelShape

SHAPE = ModelShape.from_config(
    {
        "architectures": ["LlamaForCausalLM"],
        "hidden_size": 48,
        "intermediate_size": 100,
        "num_hidden_layers": 200,
        "num_attention_heads": 6,
        "vocab_size": 199,
        "max_position_embeddings": 256,
    }
)
FACTS = ModelFacts(digest="sha256:" + "a" * 64, folder="sha256-" + "a" * 64, num_bytes=14 * 10**9, shape=SHAPE)


def test_facts_come_back_as_they_were_sent():
    assert ModelReport.parse(ModelReport(facts=FACTS).to_json()) == ModelReport(facts=FACTS)


@given(st.text(max_size=5000) | st.text('\0\x1b\n"\\🙂\ud800é', min_size=2000, max_size=2500))
def test_any_failure_fits_into_what_the_kubelet_keeps(message):
    report = ModelReport(failure=ModelFailure(reason=FailureReason.INTERNAL, message=message))
    text = report.to_json()
    assert len(text.encode()) <= MAX_BYTES
    back = ModelReport.parse(text)
    assert back
    assert back.failure
    assert back.failure.reason == FailureReason.INTERNAL
    if len(message) <= 400 and message.isprintable():
        assert back.failure.message == message


@pytest.mark.parametrize(
    "text", ["", "Killed", "{}", "null", "[]", '{"facts": {}}', '{"facts": null, "failure": null}']
)
def test_what_a_killed_container_leaves_is_no_report(text):
    assert ModelReport.parse(text) is None


@given(st.text())
def test_no_text_breaks_the_reader(text):
    ModelReport.parse(text)


def test_a_report_with_both_is_none():
    both = ModelReport(facts=FACTS, failure=ModelFailure(reason=FailureReason.INTERNAL, message="x"))
    assert ModelReport.parse(both.to_json()) is None


def test_a_field_of_a_newer_fetcher_is_ignored():
    text = ModelReport(facts=FACTS).to_json().replace('{"digest"', '{"newField": 1, "digest"', 1)
    assert ModelReport.parse(text) == ModelReport(facts=FACTS)
