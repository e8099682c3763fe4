"""What waits for a taker, and what goes past it by express."""

import asyncio

import pytest
from pagelet_api import inference_pb2 as pb
from pagelet_gateway.inbox import Inbox


async def test_a_fault_on_the_lean_way_is_the_takers_to_raise() -> None:
    def express(key: int, index: int, token: int, came_s: float) -> bool:
        raise ZeroDivisionError

    inbox = Inbox(10, lambda: None)
    taking = asyncio.create_task(inbox.take(express))
    await asyncio.sleep(0)
    inbox.push_drawn(0, 0, 1, 0.0)
    with pytest.raises(ZeroDivisionError):
        await taking


async def test_what_waits_is_not_overtaken_by_express() -> None:
    taken: list[int] = []

    def express(key: int, index: int, token: int, came_s: float) -> bool:
        taken.append(token)
        return True

    inbox = Inbox(10, lambda: None)
    taking = asyncio.create_task(inbox.take(express))
    await asyncio.sleep(0)
    inbox.push_drawn(0, 0, 1, 0.0)
    inbox.push(0, pb.RequestUpdate(finished=True))
    inbox.push_drawn(0, 0, 2, 0.0)
    assert taken == [1]
    assert [len(update.samples) for _, update in await taking] == [0, 1]
