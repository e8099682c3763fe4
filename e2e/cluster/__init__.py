"""A real Kubernetes on one machine, for tests and for people who want to try Pagelet on one.

    machine = Machine(CLUSTER)      # or CONTROL: no kubelet, nodes played by kwok
    machine.up()
    machine.cluster.kubectl("get", "nodes")
    machine.down()

`Cluster` is what tests talk to, and may be anybody's; `Machine` is what runs ours. It knows nothing of Pagelet, but for
the report that a model Job played by kwok ends with.
"""

from .cluster import Cluster, CommandError, NotOurs
from .layout import CLUSTER, CONTROL, Layout
from .machine import Machine, MachineError
from .program import ProgramError
from .waiting import WaitError, wait_for

__all__ = [
    "CLUSTER",
    "CONTROL",
    "Cluster",
    "CommandError",
    "Layout",
    "Machine",
    "MachineError",
    "NotOurs",
    "ProgramError",
    "WaitError",
    "wait_for",
]
