"""Who is let in, and who makes room."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pagelet_gateway.http.admission import ADDRESS_FULL, PORT_FULL, Admission, ConnectionTable, client_key
from pagelet_gateway.http.limits import ConnectionLimits

LIMITS = ConnectionLimits(total=4, per_address=2, held_bytes=100)


def test_a_full_port_takes_no_more_while_all_are_being_answered() -> None:
    table: ConnectionTable[int] = ConnectionTable(LIMITS)
    for connection, address in enumerate("aabb"):
        assert table.open(connection, address) == Admission()
        table.answer(connection)
    assert table.open(4, "a").refused == ADDRESS_FULL
    assert table.open(4, "c").refused == PORT_FULL
    table.close(0)
    assert table.open(4, "c") == Admission()


def test_the_one_that_waits_longest_for_its_client_makes_room() -> None:
    table: ConnectionTable[int] = ConnectionTable(LIMITS)
    for connection, address in enumerate("abab"):
        table.open(connection, address)
    table.answer(0)
    table.wait(0)
    assert table.open(4, "c").evicted == 1
    assert table.open(5, "a").evicted == 2  # of its own address, though another waits longer
    assert len(table) == 4


@given(st.lists(st.tuples(st.sampled_from(["open", "wait", "answer", "close", "hold"]), st.integers(0, 7))))
def test_the_limits_hold_and_the_counts_return_to_zero(events: list[tuple[str, int]]) -> None:
    table: ConnectionTable[int] = ConnectionTable(replace(LIMITS, held_bytes=10))
    open_connections: dict[int, str] = {}
    for what, connection in events:
        if what == "open" and connection not in open_connections:
            address = "abc"[connection % 3]
            admission = table.open(connection, address)
            if admission.refused is None:
                open_connections[connection] = address
            if admission.evicted is not None:
                del open_connections[admission.evicted]
        elif what == "close":
            table.close(connection)
            open_connections.pop(connection, None)
        elif connection in open_connections:
            if what == "hold":
                largest = table.hold(connection, connection)
                assert (largest is None) == (table.held_bytes <= 10)
            else:
                (table.wait if what == "wait" else table.answer)(connection)
        assert len(table) == len(open_connections) <= LIMITS.total
        addresses = list(open_connections.values())
        assert all(addresses.count(address) <= LIMITS.per_address for address in addresses)
    for connection in range(8):
        table.close(connection)
    assert (len(table), table.held_bytes) == (0, 0)
    assert table.open(0, "a") == Admission()


def test_the_one_that_holds_the_most_gives_way() -> None:
    table: ConnectionTable[int] = ConnectionTable(LIMITS)
    table.open(0, "a")
    table.open(1, "b")
    assert table.hold(0, 60) is None
    assert table.hold(1, 40) is None
    assert table.hold(1, 41) == 0
    table.close(0)
    assert table.hold(1, 90) is None


@pytest.mark.parametrize(
    ("address", "key"),
    [
        ("10.1.2.3", "10.1.2.3"),
        ("::ffff:10.1.2.3", "10.1.2.3"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
    ],
)
def test_a_client_is_an_address_or_its_network(address: str, key: str) -> None:
    assert client_key(address) == key


def test_connections_leave_descriptors_for_everything_else() -> None:
    assert ConnectionLimits.within(1_000_000).total == 4096
    assert ConnectionLimits.within(1024).total == 768
    assert ConnectionLimits.within(1024).per_address == 384
    assert ConnectionLimits.within(100).total == 16
