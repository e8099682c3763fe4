"""A kubelet's device plugin that offers GPUs which do not exist.

Owns the devices' names, and what a container learns of those it was given: NVIDIA_VISIBLE_DEVICES, as NVIDIA's plugin
says it. Their number is the content of a file, read again and again, so that devices can come and go. Refuses to know
who writes that file.

    python -m e2e.cluster.device_plugin --resource nvidia.com/gpu FILE
"""

import argparse
import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any

import grpc

FOLDER = Path("/var/lib/kubelet/device-plugins")
"""The kubelet's, whatever its --root-dir says (k8s.io/kubelet: deviceplugin/v1beta1/constants.go)."""

_POLL_S = 0.2


def device_names(count: int) -> list[str]:
    """Stable: a device that goes is the one that came last."""
    return [f"GPU-{number:08d}-fake" for number in range(count)]


class DevicePlugin:
    """The service that the kubelet calls."""

    def __init__(self, messages: ModuleType, count_file: Path, own_socket: Path) -> None:
        self._messages = messages
        self._count_file = count_file
        self._own_socket = own_socket

    def GetDevicePluginOptions(self, request: object, context: grpc.ServicerContext) -> object:
        return self._messages.DevicePluginOptions()

    def ListAndWatch(self, request: object, context: grpc.ServicerContext) -> Iterator[object]:
        """One list of devices now, and another whenever their number changes."""
        sent: list[str] | None = None
        while context.is_active() and self._own_socket.exists():
            names = device_names(self.count())
            if names != sent:
                print(f"offering {len(names)} devices", flush=True)
                devices = [self._messages.Device(ID=name, health="Healthy") for name in names]
                yield self._messages.ListAndWatchResponse(devices=devices)
                sent = names
            time.sleep(_POLL_S)

    def Allocate(self, request: Any, context: grpc.ServicerContext) -> object:
        containers = [
            self._messages.ContainerAllocateResponse(
                envs={"NVIDIA_VISIBLE_DEVICES": ",".join(container.devices_ids), "NVIDIA_DRIVER_CAPABILITIES": "all"}
            )
            for container in request.container_requests
        ]
        return self._messages.AllocateResponse(container_responses=containers)

    def count(self) -> int:
        """0 while the file is missing or being written."""
        try:
            return int(self._count_file.read_text())
        except (OSError, ValueError):
            return 0


def serve(resource: str, count_file: Path) -> None:
    """Serve and register, again whenever the kubelet has cleared its folder, as it does when it starts; for ever."""
    messages, services = grpc.protos_and_services("e2e/cluster/device_plugin.proto")
    own_socket = FOLDER / f"{resource.replace('/', '_')}.sock"
    plugin = DevicePlugin(messages, count_file, own_socket)
    while True:
        wait_for(FOLDER / "kubelet.sock")
        own_socket.unlink(missing_ok=True)
        server = grpc.server(ThreadPoolExecutor(4))
        services.add_DevicePluginServicer_to_server(plugin, server)
        server.add_insecure_port(f"unix://{own_socket}")
        server.start()
        try:
            # The kubelet's gRPC server refuses the encoded path that would be the default authority of such a channel.
            authority = [("grpc.default_authority", "localhost")]
            with grpc.insecure_channel(f"unix://{FOLDER / 'kubelet.sock'}", options=authority) as channel:
                services.RegistrationStub(channel).Register(
                    messages.RegisterRequest(version="v1beta1", endpoint=own_socket.name, resource_name=resource),
                    timeout=5,
                )
            print(f"registered {resource}", flush=True)
            while own_socket.exists():
                time.sleep(_POLL_S)
        except grpc.RpcError as error:
            print(f"registering {resource}: {error.code()}; trying again", flush=True)
            time.sleep(1)
        finally:
            server.stop(0).wait()


def wait_for(path: Path) -> None:
    while not path.exists():
        time.sleep(_POLL_S)


def main() -> None:
    parser = argparse.ArgumentParser(description="Offer GPUs that do not exist to this machine's kubelet.")
    parser.add_argument("--resource", required=True)
    parser.add_argument("count_file", type=Path)
    arguments = parser.parse_args()
    os.umask(0o077)
    serve(arguments.resource, arguments.count_file)


if __name__ == "__main__":
    main()
