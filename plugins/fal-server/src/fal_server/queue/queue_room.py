"""
Room in the queue: how many requests are unanswered, and what they take, by application and
by account.

What is used is counted as requests come and go, so that accepting one costs the same however
many wait.
"""

from __future__ import annotations

from collections.abc import Iterable

import attrs

from fal_server.errors import TooMany
from fal_server.limits import Limits

#: The owner and the alias of an application.
Name = tuple[str, str]

#: Whose requests: the account that sends them, or none and the owner of the application.
Sender = tuple[str, str]


def sender_of(account: str, owner: str) -> Sender:
    """
    Return whose request it is that *account* sends to an application of *owner*. The account
    is empty where there is no key.
    """
    return account, "" if account else owner


class QueueFull(TooMany):
    """There is no room for a request."""


@attrs.define(eq=False)
class _Used:
    """What requests take: how many they are, and their bytes."""

    count: int = 0
    size: int = 0


@attrs.define(eq=False)
class Slot:
    """
    What a request takes in the queue, until it is left.

    Attributes:
        size: The bytes of its body and headers, as far as they are known.
    """

    application: Name
    sender: Sender
    size: int = 0


@attrs.define(eq=False)
class QueueRoom:
    """The room for requests, within the limits of a server."""

    limits: Limits = attrs.field(factory=Limits)
    _applications: dict[Name, _Used] = attrs.field(factory=dict)
    _senders: dict[Sender, _Used] = attrs.field(factory=dict)

    def enter(self, application: Name, sender: str, owner: str, size: int) -> Slot:
        """
        Return a place for a request of *size* bytes.

        Arguments:
            sender: The account that sends it. Empty where it has no key.

            owner: The account that owns the application.

        Raises:
            QueueFull: There is no room.
        """
        place = Slot(application, sender_of(sender, owner))
        self._check(place, 1, size)
        self._add(place, 1, size)
        return place

    def grow(self, place: Slot, size: int) -> None:
        """
        Give a request *size* more bytes.

        Raises:
            QueueFull: There is no room.
        """
        self._check(place, 0, size)
        self._add(place, 0, size)

    def restore(self, place: Slot) -> None:
        """Count a request that an earlier server has accepted."""
        size, place.size = place.size, 0
        self._add(place, 1, size)

    def leave(self, place: Slot) -> None:
        """Make room."""
        self._add(place, -1, -place.size)

    def count(self, application: Name) -> int:
        """Return how many requests to an application are unanswered."""
        return self._applications.get(application, _Used()).count

    def recount(self, stored: Iterable[tuple[Slot, int]], arriving: Iterable[Slot]) -> None:
        """
        Count anew what is used, where other servers accept and answer requests as well.

        Arguments:
            stored: What is stored: places with the bytes of so many requests each.

            arriving: The places of requests that are not stored yet.
        """
        self._applications.clear()
        self._senders.clear()
        for place, count in (*stored, *((each, 1) for each in arriving)):
            _change(self._applications, place.application, count, place.size)
            _change(self._senders, place.sender, count, place.size)

    def _check(self, place: Slot, count: int, size: int) -> None:
        limits, (sender, _) = self.limits, place.sender
        # Those who have no key leave room for those who have one.
        part = 1 if sender else 2
        by_application = self._applications.get(place.application, _Used())
        by_sender = self._senders.get(place.sender, _Used())
        name = "/".join(place.application)
        for used, most, largest, what in (
            (
                by_application,
                limits.most_queued // part,
                limits.largest_queue // part,
                f"The queue of {name}",
            ),
            (
                by_sender,
                limits.most_queued_by_account,
                limits.largest_queue_by_account,
                "The queue of your account"
                if sender
                else "The queue of requests without a key",
            ),
        ):
            if count and used.count + count > most:
                raise QueueFull(
                    f"{what} is full: {used.count} requests are unanswered, of at most {most}. "
                    "Try again when some of them have been answered."
                )
            if used.size + size > largest:
                raise QueueFull(
                    f"{what} is full: unanswered requests have {used.size} bytes, and with "
                    f"this one they would have more than {largest}. Try again when some of "
                    "them have been answered."
                )

    def _add(self, place: Slot, count: int, size: int) -> None:
        place.size += size
        _change(self._applications, place.application, count, size)
        _change(self._senders, place.sender, count, size)


def _change(kept: dict[Name, _Used], key: Name, count: int, size: int) -> None:
    used = kept.setdefault(key, _Used())
    used.count += count
    used.size += size
    if not used.count:
        # Accounts and applications come and go.
        del kept[key]
