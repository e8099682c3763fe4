"""Addresses for pods, on the machine's real sockets."""

import socket
from collections.abc import Iterator

import pytest
from pagelet_operator.local.address import AddressError, LoopbackAddresses, free_port, taken_ports

from .conftest import free_port as any_port


@pytest.fixture
def addresses() -> Iterator[LoopbackAddresses]:
    addresses = LoopbackAddresses()
    yield addresses
    addresses.close()


def test_every_pod_gets_another_address(addresses: LoopbackAddresses) -> None:
    port = any_port()
    assert addresses.free([port]) != addresses.free([port])


def test_an_address_where_a_port_is_taken_is_left_out(addresses: LoopbackAddresses) -> None:
    first, second = any_port(), any_port()
    with socket.create_server(("127.0.0.2", second)):
        assert addresses.free([first, second]) != "127.0.0.2"


def test_an_address_is_not_given_to_two_services_that_start_together(addresses: LoopbackAddresses) -> None:
    port, other = any_port(), LoopbackAddresses()
    mine = addresses.free([port])
    assert other.free([port]) != mine
    other.close()
    addresses.close()
    again = LoopbackAddresses()
    assert again.free([port]) == mine
    again.close()


def test_a_listening_port_is_taken_and_another_is_found() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert taken_ports("127.0.0.1", [port]) == [port]
        assert free_port("127.0.0.1", port) > port
    assert taken_ports("127.0.0.1", [port]) == []


def test_an_address_that_this_machine_lacks_is_said_to_be_missing() -> None:
    with pytest.raises(AddressError, match=r"this machine has no address 192\.0\.2\.1"):
        taken_ports("192.0.2.1", [9000])
