"""
The waiting room: how many requests wait for runners outside the queue, and what they hold.

A request that gets a runner at once is not counted.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import attrs

from fal_server.errors import TooMany
from fal_server.limits import Limits, write_size

#: The owner and the alias of an application.
Name = tuple[str, str]


class WaitingRoomFull(TooMany):
    """There is no room for another request that waits."""


@attrs.define(eq=False)
class HeldBytes:
    """
    Bytes that are in memory for requests of one account, until the end of the context.

    Attributes:
        account: The account. Empty for all clients without a key together.
    """

    account: str
    _room: WaitingRoom
    _size: int = 0
    _is_over: bool = False

    def __enter__(self) -> HeldBytes:
        return self

    def __exit__(self, *_: object) -> None:
        self.shrink(self._size)
        # What comes later is not kept.
        self._is_over = True

    def grow(self, size: int) -> None:
        """
        Hold *size* more bytes.

        Raises:
            WaitingRoomFull: There is no room for them.
        """
        if not self._is_over:
            self._room.take(self.account, size)
            self._size += size

    def shrink(self, size: int) -> None:
        """Hold *size* bytes less."""
        if not self._is_over:
            self._size -= size
            self._room.give_back(self.account, size)


@attrs.define(eq=False)
class WaitingRoom:
    """
    The room for requests that wait, within the limits of a server.

    Clients without a key get half of what clients with one get: of the requests of an
    application, and of the bytes, which they share.
    """

    limits: Limits = attrs.field(factory=Limits)
    _counts: dict[Name, int] = attrs.field(factory=dict)
    _sizes: dict[str, int] = attrs.field(factory=dict)

    def hold(self, account: str) -> HeldBytes:
        """
        Return the bytes that an account holds for one request: none yet.

        Arguments:
            account: The account. Empty for a client without a key.
        """
        return HeldBytes(account, self)

    @contextmanager
    def enter(self, application: Name, account: str, size: int) -> Iterator[None]:
        """
        Have a request of *size* bytes wait, until the end of the context.

        Raises:
            WaitingRoomFull: There is no room for it.
        """
        most = self.limits.most_waiting // (1 if account else 2)
        count = self._counts.get(application, 0)
        if count >= most:
            raise WaitingRoomFull(
                f"{count} requests to {'/'.join(application)} wait for a runner, of at most "
                f"{most}. Try again when some of them have been answered."
            )
        with self.hold(account) as held:
            held.grow(size)
            self._counts[application] = count + 1
            try:
                yield
            finally:
                left = self._counts.pop(application) - 1
                if left:
                    self._counts[application] = left

    def take(self, account: str, size: int) -> None:
        """
        Count *size* more bytes that an account holds.

        Raises:
            WaitingRoomFull: It may not hold them.
        """
        largest = self.limits.largest_waiting // (1 if account else 2)
        held = self._sizes.get(account, 0) + size
        if held > largest:
            whose = "of your account" if account else "without a key"
            raise WaitingRoomFull(
                f"Requests {whose} that wait have more than {write_size(largest)} bytes. "
                "Try again when some of them have been answered."
            )
        self._sizes[account] = held

    def give_back(self, account: str, size: int) -> None:
        """Count *size* bytes less."""
        left = self._sizes.get(account, 0) - size
        if left:
            self._sizes[account] = left
        else:
            # Accounts come and go.
            self._sizes.pop(account, None)
