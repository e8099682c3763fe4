"""Takes a census of nodes and pods, at most one in a while, and none where that is not allowed.

Owns the throttle. What is free for whom is counted elsewhere.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from pagelet_operator.census import Census
from pagelet_operator.cluster.api import Api, ApiError
from pagelet_operator.cluster.kinds import NODE, POD
from pagelet_operator.observed import KubernetesObject

FRESH_S = 15.0
"""For how long a census is good enough: a device that is given away or comes back changes a sentence, nothing else."""
_REFUSED_S = 300.0

logger = logging.getLogger(__name__)


class CensusTaker:
    """Services that ask at once share one census."""

    def __init__(self, api: Api, monotonic_s: Callable[[], float]) -> None:
        self._api = api
        self._monotonic_s = monotonic_s
        self._latest: Census | None = None
        self._good_until_s = float("-inf")
        self._taking = asyncio.Lock()

    async def take(self) -> Census | None:
        """None: it cannot be known. Raises nothing."""
        async with self._taking:
            if self._monotonic_s() >= self._good_until_s:
                good_for_s = FRESH_S
                try:
                    nodes, _ = await self._api.list(NODE, None)
                    pods, _ = await self._api.list(POD, None, fields="status.phase!=Succeeded,status.phase!=Failed")
                    self._latest = Census(
                        tuple(_of_node(node) for node in nodes),
                        tuple(_of_pod(pod) for pod in pods if pod["spec"].get("nodeName")),
                    )
                except ApiError as error:
                    self._latest = None
                    if error.reason == "Forbidden":
                        good_for_s = _REFUSED_S
                    logger.info("free devices are not known", extra={"error": error.message})
                self._good_until_s = self._monotonic_s() + good_for_s
            return self._latest


def _of_node(node: KubernetesObject) -> KubernetesObject:
    metadata, status = node["metadata"], node.get("status", {})
    return {
        "metadata": {"name": metadata["name"], "labels": metadata.get("labels", {})},
        "spec": {name: node["spec"][name] for name in ("taints", "unschedulable") if name in node.get("spec", {})},
        "status": {"allocatable": status.get("allocatable", {})},
    }


def _of_pod(pod: KubernetesObject) -> KubernetesObject:
    spec, metadata = pod["spec"], pod["metadata"]
    return {
        "metadata": {"name": metadata["name"], "namespace": metadata["namespace"]},
        "spec": {
            "nodeName": spec["nodeName"],
            "containers": [_of_container(container) for container in spec.get("containers", ())],
            "initContainers": [_of_container(container) for container in spec.get("initContainers", ())],
        },
        "status": {"phase": pod.get("status", {}).get("phase", "")},
    }


def _of_container(container: dict[str, Any]) -> dict[str, Any]:
    return {name: container[name] for name in ("resources", "restartPolicy") if name in container}
