"""An Event for each thing that is new, and none for what stays or what nobody has to know."""

from typing import Any

import pytest
from pagelet_operator.transitions import transitions

SERVICE = {"metadata": {"namespace": "team", "name": "chat", "uid": "u-1", "resourceVersion": "7"}}


def status(**conditions: str) -> dict[str, Any]:
    """Available="False:Unschedulable" and so on."""
    found = []
    for type_, said in conditions.items():
        state, _, reason = said.partition(":")
        found.append({"type": type_, "status": state, "reason": reason, "message": "m", "lastTransitionTime": "t"})
    return {"conditions": found}


@pytest.mark.parametrize(
    ("before", "after", "reasons"),
    [
        ({}, status(Available="False:WaitingForModel", ModelReady="Unknown:Fetching", Degraded="False:AsWanted"), []),
        ({}, status(Accepted="True:Accepted"), ["Accepted"]),
        ({}, status(Accepted="False:TwoSources"), ["TwoSources"]),
        (status(Available="False:WaitingForModel"), status(Available="False:EnginesNotReady"), []),
        (status(Available="False:EnginesNotReady"), status(Available="True:Serving"), ["Serving"]),
        (status(Available="False:EnginesNotReady"), status(Available="False:Unschedulable"), ["Unschedulable"]),
        (status(Available="True:Serving"), status(Available="True:Serving"), []),
        (status(Progressing="True:RollingOut"), status(Progressing="True:WaitingForDevice"), ["WaitingForDevice"]),
        (status(Degraded="True:ImagePull"), status(Degraded="False:AsWanted"), ["AsWanted"]),
    ],
)
def test_what_is_told(before: dict[str, Any], after: dict[str, Any], reasons: list[str]) -> None:
    assert [transition.reason for transition in transitions(before, after)] == reasons


@pytest.mark.parametrize(
    ("said", "is_bad"),
    [
        ({"Accepted": "False:TwoSources"}, True),
        ({"ModelReady": "False:WrongCredentials"}, True),
        ({"Degraded": "True:ImagePull"}, True),
        ({"Degraded": "False:AsWanted"}, False),
        ({"Available": "False:Unschedulable"}, True),
        ({"Available": "True:Serving"}, False),
        ({"Progressing": "True:RollingOut"}, False),
    ],
)
def test_a_warning_is_what_somebody_should_look_at(said: dict[str, str], is_bad: bool) -> None:
    before = dict.fromkeys(said, "Unknown:x")
    [transition] = transitions(status(**before), status(**said))
    assert transition.is_bad == is_bad
    assert transition.event(SERVICE, "one", 0)["type"] == ("Warning" if is_bad else "Normal")


def test_a_wish_is_no_warning() -> None:
    [transition] = transitions(status(Available="True:Serving"), status(Available="False:Suspended"))
    assert not transition.is_bad


def test_the_same_transition_has_one_name_whoever_tells_it_and_when() -> None:
    [transition] = transitions({}, status(Accepted="True:Accepted"))
    names = {transition.event(SERVICE, who, now_s)["metadata"]["name"] for who, now_s in (("one", 0), ("two", 99))}
    assert len(names) == 1
    event = transition.event(SERVICE, "one", 0.5)
    assert event["eventTime"] == "1970-01-01T00:00:00.500000Z"
    assert event["regarding"]["uid"] == "u-1"
