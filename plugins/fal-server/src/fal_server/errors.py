"""
The errors of the server, and the refusals of requests.

    FalCoreError
    └── ServerError                  the server cannot start
        ├── DataInUse
        ├── DataTooNew
        ├── KeyLost
        ├── StateBroken
        ├── StateKeyLost
        └── StateLost

    Refusal                          one request is refused, and the server goes on
    ├── Unauthenticated
    ├── Forbidden
    ├── NotFound
    ├── AlreadyExists
    ├── Invalid
    ├── TooLarge
    ├── TooMany
    ├── NotNow
    ├── StorageFull
    ├── Unanswered
    └── Unavailable
        ├── Fenced               another replica of the server decides
        └── StateUnavailable     the state cannot be read or written for a while

The client is sent the sentence of a refusal, with the status code of its class.
"""

from __future__ import annotations

import logging
import os
import shlex
from typing import ClassVar

from fal_core.errors import FalCoreError
from fal_core.facts import facts


class ServerError(FalCoreError):
    """The server cannot start."""


@facts
class DataInUse(ServerError):
    """Another server uses the data directory."""

    directory: str
    pid: int | None

    @property
    def who(self) -> str:
        """The process that uses it, in words."""
        return f"process {self.pid}" if self.pid else "another process"

    def __str__(self) -> str:
        return (
            f"A server runs on {self.directory} already ({self.who}). End it first, or start "
            "this one with '--data' and another directory."
        )


@facts
class DataTooNew(ServerError):
    """A newer version of the server has written the state."""

    found: int
    known: int

    def __str__(self) -> str:
        return (
            f"The state was written by a newer version (layout {self.found}; this one "
            f"knows {self.known}). Install that version, or use another data directory."
        )


@facts
class KeyLost(ServerError):
    """
    A key file of the data directory is missing, or is not what it was.

    Attributes:
        why: What is wrong with it, in words that follow its path.

        cost: What replacing it costs, in words.
    """

    path: str
    why: str
    cost: str

    def __str__(self) -> str:
        folder, name = os.path.split(self.path)
        command = f"fal-core server replace-key {name} --data {shlex.quote(folder)}"
        return (
            f"{self.path} {self.why}. Put a copy of it there, or make another key with "
            f"'{command}': {self.cost}."
        )


@facts
class StateKeyLost(ServerError):
    """
    A key of the state is missing, or is not what it was.

    Attributes:
        url: Where the state is, without a password.

        cost: What replacing it costs, in words.

        why: What is wrong with it, in words that follow its name.
    """

    name: str
    url: str
    cost: str
    why: str = "is missing, or is not whole"

    def __str__(self) -> str:
        return (
            f"The key {self.name} of the state at {self.url} {self.why}. Restore a backup of "
            "the state, or make another key with 'fal-core server replace-key "
            f"{self.name}' and '--database': {self.cost}."
        )


@facts
class StateLost(ServerError):
    """
    The database is empty, although a server has run on the data directory.

    Attributes:
        url: Where it is, without a password.
    """

    url: str
    directory: str

    def __str__(self) -> str:
        return (
            f"The state at {self.url} is empty, but a server has run on {self.directory} "
            "before. Put a copy of the state there, name its database with '--database', or "
            "start anew with '--data' and another directory."
        )


@facts
class StateBroken(ServerError):
    """
    The database of the state cannot be used.

    Attributes:
        url: Where it is, without a password.

        remedy: What to do, as a sentence without its end.
    """

    url: str
    reason: str
    remedy: str = "Put a copy of it there, or use another data directory"

    def __str__(self) -> str:
        return f"The state at {self.url} cannot be used: {self.reason}. {self.remedy}."


def level_of(refusal: Refusal) -> int:
    """
    Return the level at which a refusal is logged: failed authentication and missing
    permissions are warnings.
    """
    return logging.WARNING if isinstance(refusal, Unauthenticated | Forbidden) else logging.INFO


class Refusal(Exception):
    """
    One request is refused. The argument is the sentence for the client.

    Attributes:
        status: The name of the status code of gRPC.

        http: The status code of HTTP.

        kind: The ``error_type`` by which released clients know the reason. Empty where
            they know none.

        retry_after: Seconds after which the client may try again. None where it is not told.
    """

    status: ClassVar[str] = "UNKNOWN"
    http: int = 500
    kind: ClassVar[str] = ""
    retry_after: ClassVar[int | None] = None


class Unauthenticated(Refusal):
    """The request has no valid credentials."""

    status = "UNAUTHENTICATED"
    http = 401


class Forbidden(Refusal):
    """The caller lacks a permission."""

    status = "PERMISSION_DENIED"
    http = 403


class NotFound(Refusal):
    """There is no such thing, or the caller may not see it."""

    status = "NOT_FOUND"
    http = 404


class AlreadyExists(Refusal):
    """The name is taken."""

    status = "ALREADY_EXISTS"
    http = 409


class Invalid(Refusal):
    """The request is not valid."""

    status = "INVALID_ARGUMENT"
    http = 422


class TooLarge(Refusal):
    """The request is too large."""

    status = "RESOURCE_EXHAUSTED"
    http = 413


class TooMany(Refusal):
    """There is no room at present; the client may try again."""

    status = "RESOURCE_EXHAUSTED"
    http = 429
    retry_after = 10


class NotNow(Refusal):
    """The request cannot be met in the present state."""

    status = "FAILED_PRECONDITION"
    http = 409


class StorageFull(Refusal):
    """The disk of the server is full."""

    status = "RESOURCE_EXHAUSTED"
    http = 507


class Unanswered(Refusal):
    """The server does not have the gRPC method, or the feature, that the argument names."""

    status = "UNIMPLEMENTED"
    http = 501

    def __str__(self) -> str:
        return f"This server does not have {self.args[0]}."


class Unavailable(Refusal):
    """The server cannot answer for a while; the client may try again."""

    status = "UNAVAILABLE"
    http = 503


class Fenced(Unavailable):
    """This server may not write, as another replica decides."""

    retry_after = 1


class StateUnavailable(Unavailable):
    """The state cannot be read or written for a while."""


#: Refusals because the server itself cannot write; the work is repeated until it can.
STATE_TROUBLE = (StateUnavailable, StorageFull)
