"""What a person reads about a pod."""

from pagelet_operator.local.lifecycle import Life
from pagelet_operator.local.probe import Probe, Role, TcpSocket
from pagelet_operator.local.statement import state_of_pod

PROBES = {role: Probe(TcpSocket(1), failure_threshold=1) for role in (Role.STARTUP, Role.READINESS)}


def test_a_pod_says_what_its_container_waits_for_from_start_to_ready() -> None:
    life = Life(PROBES)
    states = [state_of_pod([life], 0)]
    for event in (
        lambda life: life.started(0),
        lambda life: life.probed(Role.STARTUP, False, "", 0),
        lambda life: life.probed(Role.STARTUP, True, "", 0),
        lambda life: life.probed(Role.READINESS, False, "loading weights", 0),
        lambda life: life.probed(Role.READINESS, True, "", 0),
        lambda life: life.probed(Role.READINESS, False, "draining", 0),
        lambda life: life.exited("exit code 1", 0),
        lambda life: life.started(1),
        lambda life: life.probed(Role.STARTUP, True, "", 1),
        lambda life: life.probed(Role.READINESS, False, "", 1),
    ):
        life = event(life)
        states.append(state_of_pod([life], 0))
    assert states == [
        "starting",
        "starting",
        "starting",
        "started",
        "loading weights",
        "ready",
        "not ready: draining",
        "restart 1 in 1 s",
        "starting",
        "started",
        "not ready: it does not say why",
    ]


def test_a_pod_is_as_ready_as_its_slowest_container() -> None:
    assert state_of_pod([Life({}).started(0), Life(PROBES)], 0) == "starting"
    assert state_of_pod([Life({}).started(0)], 0) == "ready"
    assert state_of_pod([Life({}).started(0)], 0, stopping=True) == "stopping"
