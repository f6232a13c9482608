"""The waiting room: who may have requests wait, how many, and how large."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from fal_server.limits import Limits
from fal_server.routing.waiting_room import WaitingRoom, WaitingRoomFull

APPLICATION = ("owner", "app")


def test_requests_that_wait_are_limited_by_application():
    """
    Clients without a key fill half of the room of an application, and leave the rest to those
    with a key. Who leaves makes room.
    """
    room = WaitingRoom(Limits(most_waiting=4))
    with ExitStack() as waiting:

        def enter(account: str, name: str = "app") -> None:
            waiting.enter_context(room.enter(("owner", name), account, 0))

        for name in ("app", "app", "other"):
            enter("", name)
        with pytest.raises(WaitingRoomFull, match=r"2 requests to owner/app .* most 2"):
            enter("")
        for account in ("user|1", "user|2"):
            enter(account)
        with pytest.raises(WaitingRoomFull, match="of at most 4"):
            enter("user|3")
    with room.enter(APPLICATION, "", 0):
        pass


def test_bytes_that_wait_are_limited_by_account():
    """
    Clients without a key share the bytes that they hold, for whatever application; each
    account has its own.
    """
    room = WaitingRoom(Limits(largest_waiting=2000))
    with room.enter(APPLICATION, "", 600), room.hold("") as held:
        held.grow(400)
        for size in (1, 1000):
            with pytest.raises(WaitingRoomFull, match="without a key that wait have more than"):
                held.grow(size)
        held.shrink(100)
        held.grow(100)
        room.hold("user|1").grow(2000)
        with pytest.raises(WaitingRoomFull, match="of your account"):
            room.hold("user|1").grow(1)
        room.hold("user|2").grow(2000)
    # What comes after the end is not kept.
    held.grow(5000)
    held.shrink(1)
    with room.enter(APPLICATION, "", 1000), pytest.raises(WaitingRoomFull):
        room.hold("").grow(1)
