"""Waiting for something to become true, with an account of the things if it does not.

Owns the clock of such a wait. What is waited for is the caller's; what a cluster looks like is said by `account`.
"""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


class WaitError(AssertionError):
    """What was waited for did not come; the message says what there was instead."""


def wait_for(
    what: str,
    find: Callable[[], T | None],
    *,
    timeout_s: float,
    account: Callable[[], str] = str,
    poll_s: float = 0.1,
) -> T:
    """The first truthy answer of `find`, asked every `poll_s`. Raises WaitError with `account()` after `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    while not (found := find()):
        if time.monotonic() > deadline:
            raise WaitError(f"waited {timeout_s:g} s for {what}, in vain\n{account()}")
        time.sleep(poll_s)
    return found
