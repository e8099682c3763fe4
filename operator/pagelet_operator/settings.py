"""What the operator is started with: flags, each also by a variable PAGELET_… of the environment."""

import argparse
import os
import socket
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pagelet_operator.logs import LogFormat
from pagelet_operator.release import Release, engine_image, gateway_image, model_image

_NAMESPACE_FILE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


def _identity() -> str:
    return f"{socket.gethostname()}_{uuid.uuid4().hex[:8]}"


@dataclass(frozen=True, slots=True)
class Settings:
    release: Release
    namespaces: tuple[str, ...] = ()
    """Those that are watched; none: all."""
    lease_namespace: str = "default"
    ops_address: str = "0.0.0.0"
    ops_port: int = 8080
    workers: int = 4
    """Reconciles at once."""
    resync_s: float = 600.0
    """Every service is looked at again after about this time, though nothing happened."""
    log_format: LogFormat = LogFormat.JSON
    identity: str = field(default_factory=_identity)
    """Names this process in the Lease; no two processes have the same."""


def parse_settings(arguments: Sequence[str], environment: Mapping[str, str] = os.environ) -> Settings:
    """Raises SystemExit with a sentence, as command lines do."""
    parser = argparse.ArgumentParser(
        prog="python -m pagelet_operator",
        description="Turns InferenceServices into running endpoints, and keeps them so.",
    )

    def option(name: str, default: str, meaning: str) -> None:
        variable = f"PAGELET_{name.upper().replace('-', '_')}"
        parser.add_argument(f"--{name}", default=environment.get(variable) or default, help=f"{meaning} ({variable})")

    parser.add_argument(
        "--namespace",
        action="append",
        help="watch this namespace and no other; may be given again (PAGELET_NAMESPACES, with commas); none: all",
    )
    option("engine-image", engine_image(), "image of engine pods")
    option("gateway-image", gateway_image(), "image of gateway pods")
    option("model-image", model_image(), "image that fetches models: the operator's own")
    option("lease-namespace", _own_namespace(), "where the Lease is that says which replica writes")
    option("ops-address", "0.0.0.0", "address of /healthz, /readyz and /metrics")
    option("ops-port", "8080", "port of these")
    option("workers", "4", "reconciles at once")
    option("resync-s", "600", "seconds after which a service is looked at though nothing happened")
    option("log-format", LogFormat.JSON.value, "json or text")
    given = parser.parse_args(arguments)
    try:
        settings = Settings(
            release=Release(given.engine_image, given.gateway_image, given.model_image),
            namespaces=_namespaces(given.namespace, environment.get("PAGELET_NAMESPACES", "")),
            lease_namespace=given.lease_namespace,
            ops_address=given.ops_address,
            ops_port=int(given.ops_port),
            workers=int(given.workers),
            resync_s=float(given.resync_s),
            log_format=LogFormat(given.log_format),
        )
    except ValueError as error:
        parser.error(f"{error}: --ops-port, --workers and --resync-s are numbers, --log-format is json or text")
    if not (0 <= settings.ops_port < 65536 and settings.workers > 0 and settings.resync_s > 0):
        parser.error("wanted a port below 65536, at least one worker, and a resync after more than 0 s")
    return settings


def _namespaces(given: Sequence[str] | None, listed: str) -> tuple[str, ...]:
    """Flags win over the environment. Each once, in order."""
    names = given if given is not None else listed.split(",")
    return tuple(dict.fromkeys(name.strip() for name in names if name.strip()))


def _own_namespace() -> str:
    try:
        return _NAMESPACE_FILE.read_text().strip() or "default"
    except OSError:
        return "default"
