"""Names to addresses."""

from pathlib import Path

from pagelet_gateway.discovery import Resolver, addresses_in_hosts

HOSTS = """# written by the runtime
127.0.0.2   engines engines.default.svc   # pod 1
127.0.0.3\tengines
::1 engines
127.0.0.4 engines-of-another
#127.0.0.5 engines

engines 127.0.0.6
"""


def test_reads_every_line_of_a_hosts_file_that_names_the_host() -> None:
    assert addresses_in_hosts(HOSTS, "engines") == {"127.0.0.2", "127.0.0.3", "::1"}
    assert addresses_in_hosts(HOSTS, "engines.default.svc") == {"127.0.0.2"}
    assert addresses_in_hosts(HOSTS, "unknown") == frozenset()


async def test_joins_addresses_and_port_in_both_families(tmp_path: Path) -> None:
    hosts = tmp_path / "hosts"
    hosts.write_text(HOSTS)
    assert await Resolver("engines", 9000, hosts).resolve() == {"127.0.0.2:9000", "127.0.0.3:9000", "[::1]:9000"}


async def test_a_hosts_file_without_the_name_means_no_engine_and_one_not_there_means_nothing(tmp_path: Path) -> None:
    hosts = tmp_path / "hosts"
    assert await Resolver("engines", 9000, hosts).resolve() is None
    hosts.write_text("127.0.0.1 localhost\n")
    assert await Resolver("engines", 9000, hosts).resolve() == frozenset()


async def test_asks_the_system_s_resolver_without_a_file() -> None:
    assert "127.0.0.1:9000" in (await Resolver("localhost", 9000, None).resolve() or ())
