"""
Lines: connections with the replica that decides, which are encrypted, and known by its own
authority.
"""

from __future__ import annotations

import hashlib
import hmac
import ssl

import attrs
import grpc
import grpc.aio
from isolate_proto.configuration import GRPC_OPTIONS

from fal_server.fleet.http_client import HttpClient
from fal_server.replicas.seats import Seat, Seats
from fal_server.state.tasks import Tasks

#: A name that the certificate of every server has.
_NAME = "localhost"


@attrs.define(eq=False)
class Line:
    """
    What leads to a replica that decides, until it does so no longer: what is under way then
    breaks off.
    """

    seat: Seat
    http: HttpClient
    channel: grpc.aio.Channel

    @classmethod
    def open(cls, seat: Seat) -> Line:
        """Return what leads to the replica of a seat."""
        authority = seat.replica.authority
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        # Its authority signs for that replica alone, wherever it is reached.
        context.check_hostname = False
        context.load_verify_locations(cadata=authority)
        context.set_alpn_protocols(["http/1.1"])
        unlimited = {"grpc.max_receive_message_length": -1, "grpc.max_send_message_length": -1}
        options = {**dict(GRPC_OPTIONS), **unlimited, "grpc.ssl_target_name_override": _NAME}
        channel = grpc.aio.secure_channel(
            seat.replica.origin("api"),
            grpc.ssl_channel_credentials(authority.encode()),
            options=[*options.items()],
        )
        return cls(seat, HttpClient(context), channel)

    async def close(self) -> None:
        """End all connections."""
        await self.http.aclose()
        await self.channel.close()


@attrs.define(eq=False)
class Lines:
    """
    The line to the leader.

    Attributes:
        secret: What replicas share, so that they know each other's requests.
    """

    seats: Seats
    secret: str = attrs.field(repr=False)
    _line: Line | None = None
    _tasks: Tasks = attrs.field(factory=Tasks)

    async def wait(self, until: float) -> Line:
        """Return the line to the leader, as :meth:`Seats.wait` does."""
        seat = await self.seats.wait(until)
        if self._line is None or self._line.seat is not seat:
            self._line = Line.open(seat)
            self._tasks.spawn(self._end_with(self._line))
        return self._line

    async def close(self) -> None:
        """End all connections."""
        if self.seats.now is not None:
            self.seats.now.gone.set()
        await self._tasks.close()

    async def _end_with(self, line: Line) -> None:
        try:
            await line.seat.gone.wait()
        finally:
            await line.close()


def share_secret(signing_key: bytes) -> str:
    """Derive what replicas share from the key that signs tokens."""
    return hmac.new(signing_key, b"relays between replicas", hashlib.sha256).hexdigest()
