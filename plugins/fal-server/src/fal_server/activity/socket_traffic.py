"""The traffic of one websocket: its messages, counted as requests to its application."""

from __future__ import annotations

import time

import aiohttp
import attrs
from aiohttp import WSCloseCode

from fal_server.activity.measurements import Name
from fal_server.activity.traffic import Traffic

#: What the beginning of a message has by which a runner says that it has failed, and how many
#: characters of it are looked at.
_FAILED, _BEGINNING = ('"x-fal-error"', '"INTERNAL_ERROR"'), 128

#: The codes with which a websocket ends whose runner has failed, or is lost.
_FAULTS = (WSCloseCode.INTERNAL_ERROR, WSCloseCode.ABNORMAL_CLOSURE)


@attrs.define(eq=False)
class SocketTraffic:
    """
    Counts the messages of a websocket whose two ends send as they like.

    Each message of the sender is a request. Which message of the runner answers it is known
    where the sender has waited for that: how long it took is counted then, and not where
    several messages were under way. A websocket on which the sender has sent nothing is one
    request. What ends with a failure of the runner has one error.
    """

    _traffic: Traffic
    _name: Name
    _has_sent: bool = attrs.field(default=False, init=False)
    _has_failed: bool = attrs.field(default=False, init=False)
    #: The messages of the sender since the last one of the runner, and when the first was sent.
    _waiting: int = attrs.field(default=0, init=False)
    _since: float = attrs.field(default=0.0, init=False)

    def send(self, _: aiohttp.WSMessage) -> None:
        """Count a message of the sender."""
        if not self._waiting:
            self._since = time.monotonic()
        self._waiting += 1
        self._has_sent = True
        self._traffic.tally_of(self._name).requests += 1

    def answer(self, message: aiohttp.WSMessage) -> None:
        """Count a message of the runner."""
        waiting, self._waiting = self._waiting, 0
        if _tells_failure(message):
            self._has_failed = True
        elif waiting == 1:
            self._traffic.tally_of(self._name).time(time.monotonic() - self._since)

    def close(self, code: int | None) -> None:
        """Note that the runner has ended the websocket, and how."""
        self._has_failed |= code in _FAULTS

    def end(self) -> None:
        """Count the end of the websocket, regardless of which side ended it."""
        tally = self._traffic.tally_of(self._name)
        tally.requests += not self._has_sent
        tally.errors += self._has_failed


def _tells_failure(message: aiohttp.WSMessage) -> bool:
    if message.type is not aiohttp.WSMsgType.TEXT:
        return False
    beginning = message.data[:_BEGINNING]
    return all(each in beginning for each in _FAILED)
