"""A model in a repository of a hub that speaks Hugging Face's HTTP API."""

import json
import shutil

import pytest
from pagelet_api.model_folder import verify
from pagelet_api.model_report import FailureReason

from .folders import names_in, write_hf_folder, write_model_folder
from .hub import COMMIT


@pytest.fixture
def repository(hub, tmp_path):
    hub.folder = write_hf_folder(tmp_path / "repository")
    return hub.folder


def test_a_repository_becomes_a_verified_model_folder(hub, repository, fetcher, storage):
    facts = fetcher(hub.source(), "--storage", storage).facts

    folder = storage / facts.folder
    assert facts.folder == facts.digest.replace(":", "-")
    assert facts.revision == COMMIT
    assert verify(folder, facts.digest) == facts.digest
    for name in ("model-00001-of-00002.safetensors", "model.safetensors.index.json"):
        assert (folder / name).read_bytes() == (repository / name).read_bytes()


def test_only_what_the_model_needs_is_asked_for_and_pickles_never_are(hub, repository, fetcher, storage):
    (repository / "consolidated.safetensors").write_bytes(b"the same weights once more")
    (repository / "onnx").mkdir()
    (repository / "onnx" / "model.onnx").write_bytes(b"others")

    fetcher(hub.source(), "--storage", storage).facts  # noqa: B018 - it must be a success

    assert hub.fetched() == [
        "config.json",
        "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors",
        "model.safetensors.index.json",
        "tokenizer.json",
        "tokenizer_config.json",
    ]


def test_the_same_source_has_the_same_digest_wherever_it_is_fetched_to(hub, repository, fetcher, storage, tmp_path):
    (tmp_path / "pod").mkdir()
    first = fetcher(hub.source(), "--storage", storage).facts
    second = fetcher(hub.source(), "--into", tmp_path / "pod", "--digest", first.digest).facts
    assert first.digest == second.digest == verify(tmp_path / "pod")
    assert ".partial" not in names_in(tmp_path / "pod")


def test_a_repository_that_holds_a_model_folder_is_taken_as_it_is(hub, fetcher, storage, tmp_path):
    hub.folder = tmp_path / "repository"
    digest = write_model_folder(hub.folder)
    assert fetcher(hub.source(), "--storage", storage, "--digest", digest).facts.digest == digest


def test_facts_of_a_repository_have_its_commit_and_no_digest_yet(hub, repository, fetcher):
    facts = fetcher(hub.source(revision="feature/x"), "--facts-only").facts
    assert (facts.digest, facts.folder, facts.revision) == ("", "", COMMIT)
    assert hub.fetched() == ["config.json", "model.safetensors.index.json"]
    assert facts.num_bytes > 80_000


def test_the_token_goes_to_the_hub_and_to_nobody_else(hub, repository, fetcher, storage):
    hub.token = fetcher.credentials["token"] = "hf_token-of-the-tests"

    outcome = fetcher(hub.source(hasToken=True), "--storage", storage)

    assert outcome.facts
    assert {r.authorization for r in hub.requests if r.server == "hub"} == {"Bearer hf_token-of-the-tests"}
    assert {r.authorization for r in hub.requests if r.server == "storage"} == {None}
    assert "hf_token" not in outcome.output


def test_a_transfer_goes_on_where_it_broke_off(hub, repository, fetcher, storage):
    hub.drops = {"model-00001-of-00002.safetensors": [10_000, 5_000, 1]}

    outcome = fetcher(hub.source(), "--storage", storage)

    asked = [r.range for r in hub.requests if r.path == "/stored/model-00001-of-00002.safetensors"]
    assert [r and r.partition("-")[0] for r in asked] == ["bytes=0", "bytes=10000", "bytes=15000", "bytes=15001"]
    assert verify(storage / outcome.facts.folder) == outcome.facts.digest


def test_a_server_without_ranges_and_sizes_is_read_all_the_same(hub, repository, fetcher, storage):
    hub.states_sizes = hub.knows_ranges = False
    hub.drops = {"model-00002-of-00002.safetensors": [10, 20_000]}  # the first answers the question for the size

    facts = fetcher(hub.source(), "--storage", storage).facts

    for name in ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"):
        assert (storage / facts.folder / name).read_bytes() == (repository / name).read_bytes()


def test_a_service_that_is_not_well_for_a_moment_is_asked_again(hub, repository, fetcher, storage):
    hub.errors = [503, 500, 429, 502]
    assert fetcher(hub.source(), "--storage", storage).facts.revision == COMMIT


def test_patience_ends(hub, repository, fetcher, storage):
    hub.errors = [503] * 100
    failure = fetcher(hub.source(), "--storage", storage, "--patience", 0.5).failure
    assert failure.reason == FailureReason.SOURCE_UNREACHABLE
    assert "503" in failure.message


@pytest.mark.parametrize(
    ("state", "source", "reason", "sentence"),
    [
        ({"token": "x"}, {}, FailureReason.SOURCE_NOT_FOUND, "not public"),
        ({"token": "x"}, {"hasToken": True}, FailureReason.WRONG_CREDENTIALS, "does not take the token"),
        ({"gated": True}, {}, FailureReason.WRONG_CREDENTIALS, "is gated: accept its terms"),
        ({}, {"repo": "nobody/nothing"}, FailureReason.SOURCE_NOT_FOUND, "no such repository"),
        ({}, {"revision": "nowhere"}, FailureReason.SOURCE_NOT_FOUND, "no such branch, tag or commit"),
        ({}, {"endpoint": "http://127.0.0.1:1"}, FailureReason.SOURCE_UNREACHABLE, "cannot be reached"),
        ({}, {"endpoint": "http://nowhere.invalid"}, FailureReason.SOURCE_UNREACHABLE, "does not resolve"),
    ],
)
def test_what_is_wrong_is_named(state, source, reason, sentence, hub, repository, fetcher, storage):
    fetcher.credentials["token"] = "a-wrong-token"
    for name, value in state.items():
        setattr(hub, name, value)

    outcome = fetcher(hub.source(**source), "--storage", storage, "--patience", 0.1)

    assert outcome.failure.reason == reason
    assert sentence in outcome.failure.message
    assert source.get("repo", "team/tiny") in outcome.failure.message or "endpoint" in source
    assert "a-wrong-token" not in outcome.output


def _only_pickles(folder):
    for path in folder.glob("model*"):
        path.unlink()


def _no_tokenizer(folder):
    (folder / "tokenizer.json").unlink()


def _a_shard_is_missing(folder):
    (folder / "model-00002-of-00002.safetensors").unlink()


def _quantised(folder):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"quantization_config": {"bits": 4}}))


def _weights_that_are_none(folder):
    (folder / "model-00002-of-00002.safetensors").write_bytes(b"not safetensors at all")


def _an_index_that_leads_away(folder):
    index = {"weight_map": {"x": "../../etc/passwd.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def _no_config(folder):
    (folder / "config.json").unlink()


@pytest.mark.parametrize(
    ("break_it", "reason", "sentence"),
    [
        (_only_pickles, FailureReason.MODEL_NOT_SUPPORTED, "pickle files are not fetched"),
        (_no_tokenizer, FailureReason.MODEL_NOT_SUPPORTED, "no tokenizer.json"),
        (_a_shard_is_missing, FailureReason.MODEL_INCOMPLETE, "model-00002-of-00002.safetensors"),
        (_quantised, FailureReason.MODEL_NOT_SUPPORTED, "quantised"),
        (_weights_that_are_none, FailureReason.MODEL_NOT_SUPPORTED, "not a whole safetensors file"),
        (_an_index_that_leads_away, FailureReason.MODEL_NOT_SUPPORTED, "../../etc/passwd"),
        (_no_config, FailureReason.MODEL_INCOMPLETE, "no config.json"),
    ],
)
def test_a_repository_that_is_no_model_for_us_is_refused(break_it, reason, sentence, hub, repository, fetcher, storage):
    break_it(repository)
    failure = fetcher(hub.source(), "--storage", storage).failure
    assert failure.reason == reason
    assert sentence in failure.message
    assert "team/tiny@main" in failure.message
    assert names_in(storage) == []


def test_a_repository_that_became_another_model_is_refused_with_both_digests(hub, repository, fetcher, storage):
    wanted = "sha256:" + "0" * 64
    failure = fetcher(hub.source(), "--storage", storage, "--digest", wanted).failure
    assert failure.reason == FailureReason.DIGEST_MISMATCH
    assert wanted in failure.message
    assert names_in(storage) == []


def test_names_that_lead_out_of_the_folder_are_refused(hub, fetcher, storage, tmp_path):
    hub.folder = tmp_path / "repository"
    write_model_folder(hub.folder)
    manifest = hub.folder / "manifest.sha256"
    manifest.write_text(manifest.read_text() + f"{'0' * 64}  weights/../../../escaped\n")
    failure = fetcher(hub.source(), "--storage", storage).failure
    assert failure.reason == FailureReason.MODEL_INCOMPLETE
    assert "escaped" in failure.message
    assert not (tmp_path / "escaped").exists()


def test_a_pods_folder_that_is_somebodys_is_left_alone(hub, repository, fetcher, storage):
    (storage / "letter.txt").write_text("mine")
    failure = fetcher(hub.source(), "--into", storage).failure
    assert "letter.txt" in failure.message
    assert names_in(storage) == ["letter.txt"]


def test_a_storage_that_cannot_be_written_is_said(hub, repository, fetcher, tmp_path):
    assert "No such file" in fetcher(hub.source(), "--storage", tmp_path / "nothing").failure.message


def test_the_imported_model_is_the_one_that_transformers_saved(hub, fetcher, storage, tiny_llama, tmp_path):
    from pagelet_engine.weights.checkpoint import Checkpoint

    model = tiny_llama(max_shard_size="40KB")
    hub.folder = tmp_path / "saved"
    shutil.copytree(model.folder, hub.folder)
    (hub.folder / "manifest.sha256").unlink()

    facts = fetcher(hub.source(), "--storage", storage).facts

    assert Checkpoint(storage / facts.folder).names == Checkpoint(model.folder).names
