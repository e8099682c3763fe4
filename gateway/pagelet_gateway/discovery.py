"""Which addresses a name has: from a hosts file where one is named, else from DNS.

A headless Service's name resolves to its ready pods. The local runtime writes the same into a file in the form of
/etc/hosts (hosts(5)).
"""

import asyncio
import logging
import socket
from pathlib import Path

_log = logging.getLogger(__name__)

RESOLVE_INTERVAL_S = 2.0


def addresses_in_hosts(text: str, name: str) -> frozenset[str]:
    """Every address that lists `name`, in the text of a hosts file."""
    rows = (line.partition("#")[0].split() for line in text.splitlines())
    return frozenset(row[0] for row in rows if name in row[1:])


class Resolver:
    """Resolves one name again and again."""

    def __init__(self, host: str, port: int, hosts_file: Path | None) -> None:
        """`hosts_file`: asked instead of DNS. Whoever names one lists all pods in it, and a name that is missing must
        not wait for a name server that may not exist.
        """
        self._host = host
        self._port = port
        self._hosts_file = hosts_file

    @property
    def eager_interval_s(self) -> float:
        """How often to ask while nobody has been found: reading a file costs microseconds."""
        return RESOLVE_INTERVAL_S if self._hosts_file is None else 0.5

    async def resolve(self) -> frozenset[str] | None:
        """`address:port` of each; None when nobody could be asked, which says nothing about the engines."""
        addresses = await self._from_dns() if self._hosts_file is None else _from_file(self._hosts_file, self._host)
        if addresses is None:
            return None
        return frozenset(_joined(address, self._port) for address in addresses)

    async def _from_dns(self) -> frozenset[str] | None:
        try:
            infos = await asyncio.get_running_loop().getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)
        except socket.gaierror as error:
            if error.errno in (socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME)):
                return frozenset()
            _log.debug("cannot resolve %s: %s", self._host, error)
            return None
        except OSError as error:
            _log.debug("cannot resolve %s: %s", self._host, error)
            return None
        return frozenset(str(info[4][0]) for info in infos)


def _from_file(path: Path, host: str) -> frozenset[str] | None:
    try:
        return addresses_in_hosts(path.read_text(), host)
    except OSError as error:  # not written yet
        _log.debug("cannot read %s: %s", path, error)
        return None


def _joined(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
