"""The whole-engine benchmarks on a CPU, with shapes that are small: every path of them but the GPU's."""

import json
import time
from dataclasses import replace

import pytest
from gpu import decode_step, peer, throughput
from gpu.deadline import Deadline, OutOfTime
from gpu.random_engine import RandomEngine
from gpu.scene import tiny_scene
from gpu.workloads import alike


def in_time() -> Deadline:
    return Deadline(time.monotonic() + 200)


def test_measures_every_batch_in_steps_where_all_of_it_decodes() -> None:
    scene = tiny_scene()
    records = list(decode_step.measure(scene, in_time()))
    assert [record["batch"] for record in records] == list(scene.batches)
    for record in records:
        assert record["steps"] >= scene.measured_steps - 1
        assert scene.prompt_tokens < record["context"] < scene.prompt_tokens + 20
        assert 0 < record["roofline_share"] < 1
        assert 0 <= record["gap_share"] < 1
        json.dumps(record)


def test_answers_every_request_as_transformers_does() -> None:
    scene = tiny_scene()
    (ours,), (theirs,) = throughput.measure(scene, in_time()), peer.measure(scene, in_time())
    for record in (ours, theirs):
        assert record["ended"] == record["requests"] == scene.num_requests
        json.dumps(record)
    assert ours["output_tokens"] == theirs["output_tokens"]
    assert ours["first_tokens"] == theirs["first_tokens"]


def test_what_does_not_fit_into_the_time_is_cut() -> None:
    scene = tiny_scene()
    for part in (decode_step, throughput, peer):
        with pytest.raises(OutOfTime):
            list(part.measure(scene, Deadline(time.monotonic())))


def test_requests_that_have_not_ended_in_time_leave_the_tokens_they_have() -> None:
    scene = replace(tiny_scene(), lengths=(1000, 1000))
    engine = RandomEngine(scene, scene.small, scene.engine_config(max_num_seqs=2))
    outputs = engine.generate(alike("long", 199, 2, 20, 1900).requests, time.monotonic() + 0.7)
    assert all(0 < output.num_tokens < 1900 for output in outputs)
    (after,) = engine.generate(alike("short", 199, 1, 20, 5).requests)
    assert after.num_tokens == 5
