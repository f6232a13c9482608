"""The order of the queue."""

from __future__ import annotations

import random

from queued import make_pending

from fal_server.queue.backlogs import QueueOrder

APP = ("owner", "app")


def test_requests_have_their_positions_by_priority_and_number():
    """
    A request is behind those of a higher priority, and behind earlier ones of its own, but
    only where they are for the same application.
    """
    order = QueueOrder()
    late = make_pending("late", number=9, priority=0)
    low = make_pending("low", number=1, priority=1)
    other = make_pending("other", number=2, alias="other")
    first = make_pending("first", number=3)
    for each in (late, low, other, first):
        order.add(each)
    assert [each.id for each in order.of(APP)] == ["first", "late", "low"]
    assert [order.position(each) for each in (first, late, low, other)] == [0, 1, 2, 0]
    assert dict(order.counts()) == {("owner", "app"): 3, ("owner", "other"): 1}

    order.discard(late)
    assert [order.position(each) for each in (first, low)] == [0, 1]
    # One that a runner has is asked for as well.
    assert order.position(late) == 1


def test_what_waits_is_what_was_added_and_not_discarded():
    """Requests join and leave in any order, also twice, and nothing is left of those that left."""
    chosen, order = random.Random(0), QueueOrder()
    requests = [
        make_pending(str(number), number=number, priority=chosen.randrange(2))
        for number in range(50)
    ]
    waiting: set[str] = set()
    for _ in range(2000):
        request = chosen.choice(requests)
        if chosen.random() < 0.5:
            order.add(request)
            waiting.add(request.id)
        else:
            order.discard(request)
            waiting.discard(request.id)
        expected = [each for each in requests if each.id in waiting]
        expected.sort(key=lambda each: (each.priority, each.number))
        assert order.of(APP) == expected
        assert order.between(APP, 3, 5) == expected[3:5]
    for request in (*requests, *requests):
        order.discard(request)
    assert dict(order.counts()) == {}


def test_requests_of_one_number():
    """Requests to which two servers have given the same number are two."""
    order = QueueOrder()
    one, two = make_pending("one", 5), make_pending("two", 5)
    assert [order.add(two), order.add(one)] == [0, 0]
    assert [order.position(each) for each in (one, two)] == [0, 1]
    assert order.discard(one) == 0
    assert order.discard(two) == 0
