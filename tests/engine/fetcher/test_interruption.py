"""A fetcher that ends in the middle: nobody sees half a model, and the next attempt goes on."""

import os
import signal
import time

import pytest
from pagelet_api.model_folder import verify
from pagelet_api.model_report import FailureReason

from .folders import names_in, write_hf_folder

FIRST, SECOND = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"


@pytest.fixture
def stuck(hub, tmp_path):
    """A hub whose answer stops in the middle of the second file."""
    hub.folder = write_hf_folder(tmp_path / "repository")
    hub.blocked = {SECOND}
    return hub


def _until_first_is_complete(storage):
    deadline_s = time.monotonic() + 30
    while not any(path.stat().st_size > 40_000 for path in storage.rglob(FIRST)):
        assert time.monotonic() < deadline_s
        time.sleep(0.01)


@pytest.mark.parametrize("mode", ["--storage", "--into"])
def test_killed_in_the_middle_it_leaves_no_half_model_and_the_next_goes_on(mode, stuck, fetcher, storage):
    running = fetcher.start(stuck.source(), mode, storage)
    assert stuck.arrived.wait(60)
    _until_first_is_complete(storage)
    assert running.kill().report is None
    assert all(name.startswith(".partial") for name in names_in(storage))

    stuck.blocked.clear()
    stuck.requests.clear()
    facts = fetcher(stuck.source(), mode, storage).facts

    assert verify(storage / facts.folder) == facts.digest
    assert not [name for name in names_in(storage) if name.startswith(".partial")]
    assert FIRST not in stuck.fetched()
    assert SECOND in stuck.fetched()


def test_on_sigterm_it_reports_and_ends_at_once(stuck, fetcher, storage):
    running = fetcher.start(stuck.source(), "--storage", storage)
    assert stuck.arrived.wait(60)
    failure = running.kill(signal.SIGTERM).failure
    assert failure.reason == FailureReason.INTERNAL
    assert "SIGTERM" in failure.message
    assert all(name.startswith(".partial") for name in names_in(storage))


def test_another_jobs_work_is_left_alone_while_it_lives(stuck, fetcher, storage, tmp_path):
    running = fetcher.start(stuck.source(), "--storage", storage)
    assert stuck.arrived.wait(60)
    stuck.blocked.clear()

    facts = fetcher(stuck.source(), "--storage", storage).facts
    assert running.process.poll() is None
    assert len([name for name in names_in(storage) if name.startswith(".partial")]) == 1

    stuck.go_on()
    assert running.outcome().facts == facts
    assert names_in(storage) == [facts.folder]


def test_work_that_nobody_goes_on_with_is_removed_after_a_day(hub, fetcher, storage, tmp_path):
    hub.folder = write_hf_folder(tmp_path / "repository")
    for name, age_s in (("old", 25 * 3600), ("young", 3600)):
        folder = storage / f".partial-{name}-0"
        folder.mkdir()
        for path in (folder / "lock", folder):
            path.touch()
            os.utime(path, (time.time() - age_s,) * 2)

    facts = fetcher(hub.source(), "--storage", storage).facts

    assert names_in(storage) == [".partial-young-0", facts.folder]
