"""Scenario 8: the operator dies before and after each of its writes in a rollout, and nobody can tell afterwards."""

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from e2e.cluster import WaitError
from e2e.control.conftest import StartOperator, namespace_with_models
from e2e.control.mortal_operator import journal
from e2e.kube import Kube
from e2e.manifests import GPU_ENGINE
from e2e.scene import Scene

REPLICAS = 2
MOST_WRITES = 40
"""A rollout that takes more is a hot loop."""
LANES = 4
"""Each is a namespace whose operator dies at every fourth point: a rollout waits more than it works."""
REST_S = 0.7
"""Who has written nothing for so long, after all is as wanted, has nothing more to write."""


def pods_made(scene: Scene) -> dict[str, int]:
    """How many pods each engine ReplicaSet has made, those that are gone included, by its controller's own Events."""
    made: dict[str, int] = {}
    for event in scene.kube.list("Event", scene.namespace):
        regarding = event["regarding"]
        if event.get("reason") == "SuccessfulCreate" and regarding["kind"] == "ReplicaSet":
            series = (event.get("series") or {}).get("count") or event.get("deprecatedCount") or 1
            made[regarding["name"]] = made.get(regarding["name"], 0) + series
    return made


class Lane:
    """One namespace with one service, and an operator of its own that is killed again and again."""

    def __init__(self, kube: Kube, namespace: str, start: StartOperator, folder: Path) -> None:
        self.scene = Scene(kube, namespace, GPU_ENGINE)
        self._order = folder / f"{namespace}.order"
        self._operator = start(
            program=("e2e/control/mortal_operator.py",),
            arguments=("--namespace", namespace, "--lease-namespace", namespace),
            environment={"MORTAL_ORDER": str(self._order)},
        )
        self._edits = 0

    def walk(self, points: Sequence[tuple[int, str]]) -> list[str]:
        """A rollout with a death for each point, until one has fewer writes than that; its writes."""
        try:
            self._edit()
            self._wait_for_rest()
            for write, when in points:
                if not self._rollout_with_death(write, when):
                    return journal(self._order).read_text().splitlines()
        except WaitError as error:
            error.add_note(self._operator.last_words())
            raise
        raise AssertionError(f"a rollout of {REPLICAS} replicas takes more than {MOST_WRITES} writes")

    def _rollout_with_death(self, write: int, when: str) -> bool:
        """Whether the operator died, and began anew."""
        before = self.scene.revision()
        journal(self._order).unlink(missing_ok=True)
        self._order.write_text(f"{when} {write}")
        self._edit()
        self._wait_for_rest()
        died = not self._order.exists()
        self._order.unlink(missing_ok=True)
        self._check(f"death {when} write {write}", before)
        return died

    def _edit(self) -> None:
        self._edits += 1
        self.scene.apply(replicas=REPLICAS, engine={"maxNumSeqs": 10 + self._edits})

    def _wait_for_rest(self) -> None:
        """Until all is as wanted and nothing more is written, so that the next order counts one rollout's writes."""
        self.scene.wait_settled(timeout_s=90)
        self.scene.kube.wait("one ReplicaSet", lambda: len(self._replica_sets()) == 1, 30, self.scene.account)
        before, now = None, self._writes()
        while before != now:
            time.sleep(REST_S)
            before, now = now, self._writes()

    def _writes(self) -> float:
        self._operator.wait_until_ready(30)
        return self._operator.metric("pagelet_operator_api_writes_total")

    def _replica_sets(self) -> list[Any]:
        return self.scene.kube.list("ReplicaSet", self.scene.namespace, labels="pagelet.io/component=engine")

    def _check(self, what: str, before: str) -> None:
        """As after any rollout: the newest revision has its pods, each made once, and nothing else is left."""
        scene = self.scene
        revision = scene.revision()
        assert revision != before, what
        assert len(scene.engine_uids()) == REPLICAS, what
        assert [obj["metadata"]["name"] for obj in self._replica_sets()] == [revision], what
        assert pods_made(scene)[revision] == REPLICAS, (what, pods_made(scene))
        [config_map] = [
            obj
            for obj in scene.children("ConfigMap")
            if obj["metadata"]["labels"].get("pagelet.io/component") == "engine"
        ]
        assert config_map["metadata"]["name"] == revision
        assert f'"maxNumSeqs": {10 + self._edits}' in config_map["data"]["config.json"], what


@pytest.fixture
def lanes(kube: Kube, start_operator: StartOperator, tmp_path: Path) -> Iterator[list[Lane]]:
    names = [f"crash-{number}-{time.time_ns() // 10**6 % 10**7}" for number in range(LANES)]
    with ExitStack() as stack:
        for name in names:
            stack.enter_context(namespace_with_models(kube, name))
        with ThreadPoolExecutor(LANES) as pool:
            started = list(pool.map(lambda name: Lane(kube, name, start_operator, tmp_path), names))
        yield started


@pytest.mark.timeout(600)
def test_a_death_at_any_write_changes_nothing_in_the_end(lanes: list[Lane], capsys: Any) -> None:
    points = [(write, when) for write in range(1, MOST_WRITES + 1) for when in ("before", "after")]
    with ThreadPoolExecutor(LANES) as pool:
        undisturbed = list(pool.map(lambda number: lanes[number].walk(points[number::LANES]), range(LANES)))
    longest = max(undisturbed, key=len)
    with capsys.disabled():
        kinds = ", ".join(f"{count} × {write}" for write, count in Counter(longest).most_common())
        print(f"\n  a rollout of {REPLICAS} replicas: {len(longest)} writes ({kinds}); died before and after each")
    assert min(map(len, undisturbed)) >= 5
