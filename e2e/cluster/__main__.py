"""python -m e2e.cluster up|down|status|image|gpus: the clusters from a command line."""

import argparse
import sys
import time

from . import CLUSTER, CONTROL, Machine, MachineError, ProgramError, WaitError
from .buildah import BuildError
from .images import pagelet_image
from .layout import BINARIES

_LAYOUTS = {layout.name: layout for layout in (CLUSTER, CONTROL)}


def main() -> int:
    arguments = _parser().parse_args()
    try:
        match arguments.command:
            case "up":
                _up(Machine(_LAYOUTS[arguments.name]), arguments.nodes, arguments.gpus)
            case "down":
                for name in arguments.names:
                    Machine(_LAYOUTS[name]).down()
            case "status":
                for layout in _LAYOUTS.values():
                    print(f"{layout.name}:\n{Machine(layout).status()}")
            case "image":
                machine = Machine(CLUSTER)
                archives = [pagelet_image(part) for part in arguments.parts]
                for archive in archives if machine.is_up() else ():
                    machine.load(archive)
                print("\n".join(archive.by_digest for archive in archives))
            case "gpus":
                Machine(CLUSTER).set_gpus(arguments.count)
    except (MachineError, ProgramError, WaitError, BuildError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _up(machine: Machine, nodes: int, gpus: int) -> None:
    began = time.monotonic()
    machine.up(gpus)
    if not machine.layout.has_kubelet:
        machine.add_nodes(nodes)
    print(machine.cluster.kubectl("get", "nodes"))
    print(f"Up after {time.monotonic() - began:.0f} s. To use it:\n")
    print(f"  export KUBECONFIG={machine.layout.kubeconfig()} PATH={BINARIES}:$PATH")
    if machine.layout.has_kubelet:
        print("  .venv/bin/python -m e2e.cluster gpus 1      # let a GPU go, or come")
    print(f"\nLogs are in {machine.layout.logs}. `make cluster-down` ends it and cleans up.")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m e2e.cluster", description="A real Kubernetes on this machine.")
    commands = parser.add_subparsers(dest="command", required=True)
    up = commands.add_parser("up", help="start a cluster and leave it up")
    up.add_argument("name", choices=_LAYOUTS)
    up.add_argument("--nodes", type=int, default=4, help="nodes of the control plane without a kubelet")
    up.add_argument("--gpus", type=int, default=2, help="GPUs of the node with a kubelet")
    down = commands.add_parser("down", help="end clusters and remove what they left on the machine")
    down.add_argument("names", nargs="+", choices=_LAYOUTS)
    commands.add_parser("status", help="which programs run")
    image = commands.add_parser("image", help="build images of the product; load them into the cluster that is up")
    image.add_argument("parts", nargs="+", help="operator, gateway, engine")
    gpus = commands.add_parser("gpus", help="change the number of the node's GPUs")
    gpus.add_argument("count", type=int)
    return parser


if __name__ == "__main__":
    sys.exit(main())
