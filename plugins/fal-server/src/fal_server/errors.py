"""
What the server refuses, and how it fails.

    FalCoreError
    └── ServerError                  the server cannot start, or cannot go on
        ├── DataInUse
        ├── DataTooNew
        └── StateBroken

    Refusal                          one request is refused, the server goes on
    ├── Unauthenticated
    ├── Forbidden
    ├── NotFound
    ├── AlreadyExists
    ├── Invalid
    ├── TooLarge
    ├── NotNow
    ├── StorageFull
    ├── Unanswered
    └── Unavailable
        └── StateUnavailable     the state cannot be read or written for a while

A refusal is told to the client as its sentence, with the code of its class.
"""

from __future__ import annotations

import logging
from typing import ClassVar

import grpc

from fal_core.errors import FalCoreError
from fal_core.facts import facts


class ServerError(FalCoreError):
    """
    The server cannot start, or cannot go on.
    """


@facts
class DataInUse(ServerError):
    """
    Another server uses the data directory.
    """

    directory: str
    pid: int | None

    @property
    def who(self) -> str:
        """
        What holds it, in words.
        """
        return f"process {self.pid}" if self.pid else "another process"

    def __str__(self) -> str:
        return (
            f"A server runs on {self.directory} already ({self.who}). End it first, or start "
            "this one with '--data' and another directory."
        )


@facts
class DataTooNew(ServerError):
    """
    A newer version has written the state.
    """

    found: int
    known: int

    def __str__(self) -> str:
        return (
            f"The state was written by a newer version (layout {self.found}; this one "
            f"knows {self.known}). Install that version, or use another data directory."
        )


@facts
class StateBroken(ServerError):
    """
    The database of the state cannot be used.

    Attributes:
        url: Where it is, without a password.
    """

    url: str
    reason: str

    def __str__(self) -> str:
        return (
            f"The state at {self.url} cannot be used: {self.reason}. Put a copy of it "
            "there, or use another data directory."
        )


def level_of(refusal: Refusal) -> int:
    """
    Return how loudly a refusal is logged: louder where somebody may not do what they try.
    """
    return logging.WARNING if isinstance(refusal, Unauthenticated | Forbidden) else logging.INFO


class Refusal(Exception):
    """
    One request is refused. The argument is the sentence that the client is told.

    Attributes:
        kind: What released clients call the reason. Empty where they have no name.
    """

    status: ClassVar[grpc.StatusCode] = grpc.StatusCode.UNKNOWN
    http: ClassVar[int] = 500
    kind: ClassVar[str] = ""


class Unauthenticated(Refusal):
    """
    Nobody known asks.
    """

    status = grpc.StatusCode.UNAUTHENTICATED
    http = 401


class Forbidden(Refusal):
    """
    Who asks may not.
    """

    status = grpc.StatusCode.PERMISSION_DENIED
    http = 403


class NotFound(Refusal):
    """
    There is no such thing, or none that the caller may know of.
    """

    status = grpc.StatusCode.NOT_FOUND
    http = 404


class AlreadyExists(Refusal):
    """
    There is one of that name.
    """

    status = grpc.StatusCode.ALREADY_EXISTS
    http = 409


class Invalid(Refusal):
    """
    What is asked for makes no sense.
    """

    status = grpc.StatusCode.INVALID_ARGUMENT
    http = 422


class TooLarge(Refusal):
    """
    More was sent than is taken.
    """

    status = grpc.StatusCode.RESOURCE_EXHAUSTED
    http = 413


class NotNow(Refusal):
    """
    It cannot be done in the present state.
    """

    status = grpc.StatusCode.FAILED_PRECONDITION
    http = 409


class StorageFull(Refusal):
    """
    There is no room for what was sent.
    """

    status = grpc.StatusCode.RESOURCE_EXHAUSTED
    http = 507


class Unanswered(Refusal):
    """
    The server does not have the procedure whose name is the argument.
    """

    status = grpc.StatusCode.UNIMPLEMENTED
    http = 501

    def __str__(self) -> str:
        return f"This server does not have {self.args[0]}."


class Unavailable(Refusal):
    """
    The server cannot answer for a while; the client may ask again.
    """

    status = grpc.StatusCode.UNAVAILABLE
    http = 503


class StateUnavailable(Unavailable):
    """
    The state cannot be read or written for a while.
    """


#: What is refused since the server itself cannot write, and is done once it can.
STATE_TROUBLE = (StateUnavailable, StorageFull)
