"""Room in the queue: counted as requests come and go."""

from __future__ import annotations

import pytest

from fal_server.limits import Limits
from fal_server.queue.queue_room import QueueFull, QueueRoom, Slot

APP, OTHER = ("owner", "app"), ("owner", "other")


def test_room_is_made_by_those_that_leave():
    """
    A request that leaves makes room for one of its application and of its account, and what
    an earlier server has accepted counts as well.
    """
    room = QueueRoom(Limits(most_queued=2, most_queued_by_account=3))
    places = [room.enter(APP, "me", "owner", 1)]
    room.restore(Slot(APP, ("me", ""), 5))
    with pytest.raises(QueueFull, match="The queue of owner/app is full: 2 requests"):
        room.enter(APP, "you", "owner", 1)
    places.append(room.enter(OTHER, "me", "owner", 1))
    with pytest.raises(QueueFull, match="The queue of your account is full: 3 requests"):
        room.enter(OTHER, "me", "owner", 1)
    room.enter(OTHER, "you", "owner", 1)
    room.leave(places[0])
    room.enter(APP, "me", "owner", 1)


def test_bytes_are_counted_as_they_come():
    """
    A request takes the bytes that are known of it, and more as they come. Where there is no
    room for more, it has what it had.
    """
    room = QueueRoom(Limits(largest_queue=100, largest_queue_by_account=150))
    place = room.enter(APP, "me", "owner", 60)
    room.grow(place, 40)
    with pytest.raises(QueueFull, match="have 100 bytes, and with this one they would have"):
        room.grow(place, 1)
    assert place.size == 100
    with pytest.raises(QueueFull, match=r"The queue of your account .* more than 150"):
        room.enter(OTHER, "me", "owner", 51)
    room.leave(place)
    room.enter(APP, "me", "owner", 100)


def test_those_without_a_key_take_half():
    """Requests without a key take half of the room of an application, and none of its owner's."""
    room = QueueRoom(Limits(most_queued=4, largest_queue=100, most_queued_by_account=2))
    for _ in range(2):
        room.enter(APP, "", "owner", 10)
    with pytest.raises(QueueFull, match="of at most 2"):
        room.enter(APP, "", "owner", 1)
    with pytest.raises(QueueFull, match="The queue of requests without a key"):
        room.enter(OTHER, "", "owner", 1)
    room.enter(OTHER, "", "another", 50)
    room.enter(APP, "owner", "owner", 80)


def test_nothing_is_left_of_those_that_left():
    """Applications and accounts of which no request is left take no memory."""
    room = QueueRoom()
    for number in range(3):
        room.leave(room.enter(("owner", f"app{number}"), f"user{number}", "owner", 7))
    assert (room._applications, room._senders) == ({}, {})


def test_room_is_counted_anew():
    """Where other servers accept requests too, what is stored counts, and what arrives here."""
    room = QueueRoom(Limits(most_queued=4))
    name = ("owner", "app")
    arriving = room.enter(name, "user", "owner", 10)
    room.recount([(Slot(name, ("user", ""), 30), 3)], [arriving])
    assert room.count(name) == 4
    with pytest.raises(QueueFull, match="4 requests are unanswered"):
        room.enter(name, "other", "owner", 0)
    room.leave(arriving)
    assert room.count(name) == 3
