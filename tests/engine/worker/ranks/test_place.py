"""Where a process stands among the ranks, from what LeaderWorkerSet says."""

import pytest
from pagelet_engine.worker.ranks.place import Meeting, Place, PlaceError, find_place, follows

LEADER = "engine-0.engine.default"


def group(pods: str, pod: str) -> dict[str, str]:
    return {"LWS_LEADER_ADDRESS": LEADER, "LWS_GROUP_SIZE": pods, "LWS_WORKER_INDEX": pod}


def test_without_a_group_all_ranks_are_in_one_pod_on_the_loopback() -> None:
    place = find_place({"PATH": "/bin"}, 4)
    assert place == Place(4, 1, 0, "127.0.0.1")
    assert list(place.ranks) == [0, 1, 2, 3]
    assert place.where(7) == "pid 7"


def test_ranks_are_spread_evenly_over_the_pods_of_a_group() -> None:
    places = [find_place(group("3", str(pod)), 6) for pod in range(3)]
    assert [list(place.ranks) for place in places] == [[0, 1], [2, 3], [4, 5]]
    assert {place.leader_host for place in places} == {LEADER}
    assert places[2].where(7) == "pod 2, pid 7"
    assert Meeting(places[1], 3, 4711).local_rank == 1


def test_a_group_of_one_pod_is_one_pod() -> None:
    assert find_place(group("1", "0"), 2) == Place(2)


def test_only_pods_after_the_first_follow() -> None:
    assert not follows({})
    assert not follows(group("2", "0"))
    assert follows(group("2", "1"))


@pytest.mark.parametrize(
    ("environment", "size", "sentence"),
    [
        (group("2", "0"), 3, "3 ranks cannot be spread evenly over 2 pods .*: 3 = 2 × 1 \\+ 1"),
        (group("4", "0"), 2, "2 ranks cannot be spread evenly over 4 pods .*: 2 = 4 × 0 \\+ 2; .*such as 4 ranks"),
        (group("2", "2"), 2, "LWS_WORKER_INDEX: wanted 0 to LWS_GROUP_SIZE - 1, found 2 of 2"),
        (group("two", "0"), 2, "LWS_GROUP_SIZE: wanted a whole number, found 'two'"),
        (group("2", "-1"), 2, "LWS_WORKER_INDEX: wanted a whole number, found '-1'"),
        ({"LWS_WORKER_INDEX": "1"}, 2, "found no LWS_LEADER_ADDRESS and no LWS_GROUP_SIZE"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_sentence(environment: dict[str, str], size: int, sentence: str) -> None:
    with pytest.raises(PlaceError, match=sentence):
        find_place(environment, size)
