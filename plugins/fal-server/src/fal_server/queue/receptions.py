"""Receptions: how a server takes requests in whose bodies arrive."""

from __future__ import annotations

import attrs

from fal_server.errors import TooLarge
from fal_server.limits import Limits
from fal_server.queue.incoming_requests import IncomingRequest
from fal_server.queue.queue_room import QueueRoom
from fal_server.routing.applications import Application
from fal_server.state.bodies import BodyFiles
from fal_server.state.disk_reserves import DiskReserve
from fal_server.store.queued_requests import QueuedRequests, name_body


@attrs.define(eq=False)
class Reception:
    """
    Takes requests in, as far as there is room.

    Attributes:
        number: The number of the newest request.
    """

    requests: QueuedRequests
    files: BodyFiles
    reserve: DiskReserve
    limits: Limits
    room: QueueRoom = attrs.field(init=False)
    number: int = 0

    def __attrs_post_init__(self) -> None:
        self.room = QueueRoom(self.limits)

    def next_number(self) -> int:
        """Return the number for a new request. Those of several servers follow the time."""
        database = self.requests.database
        microseconds = int(database.now() * 1e6) if database.is_shared else 0
        self.number = max(self.number + 1, microseconds)
        return self.number

    def receive(
        self, id: str, application: Application, sender: str, *, head: int, body: int | None
    ) -> IncomingRequest:
        """
        Return a request whose body arrives.

        Arguments:
            sender: The account that sends it. Empty where it has no key.

            head: The bytes of its headers and its path.

            body: The bytes of its body, if they are known.

        Raises:
            TooLarge: Its body is too large.

            QueueFull: There is no room for it.

            DiskReserved: It has no key, and little room is left on the disk.
        """
        reserve = None if sender else self.reserve
        if reserve is not None:
            reserve.check()
        largest = self.limits.largest_queued_body
        if (body or 0) > largest:
            raise TooLarge(f"The body of a request must have at most {largest} bytes.")
        name = (application.owner_name, application.alias)
        place = self.room.enter(name, sender, application.owner, head + (body or 0))
        incoming = self.files.receive(name_body(id), largest=largest, reserve=reserve)
        return IncomingRequest(place, self.room, incoming, body or 0)
