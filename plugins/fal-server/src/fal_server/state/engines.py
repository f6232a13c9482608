"""Engines: connections to a database of one kind, and the meaning of its errors."""

from __future__ import annotations

import enum
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Generic, TypeVar

import attrs
import sqlalchemy as sa
from sqlalchemy.exc import DatabaseError

T = TypeVar("T")


class Trouble(enum.Enum):
    """What an error of a database means, if not that a statement is wrong."""

    #: It is locked, or gone, and may be there again in a moment.
    WAIT = enum.auto()
    #: Its disk is full.
    FULL = enum.auto()
    DAMAGED = enum.auto()
    #: It does not let this server in until somebody changes that.
    REFUSED = enum.auto()


class NotThere(Exception):
    """The database cannot be used for a while. The argument is a sentence that says why."""


class Unusable(Exception):
    """
    No server can keep its state in the database.

    Arguments:
        reason: Why, in words that follow those that it cannot be used.

        remedy: What to do, as a sentence without its end.
    """

    def __init__(self, reason: str, remedy: str) -> None:
        super().__init__(reason, remedy)
        self.reason, self.remedy = reason, remedy


@attrs.define(eq=False)
class Doubt(Generic[T]):
    """
    A transaction of which nobody has said whether it is committed.

    Attributes:
        mark: What it has left if it is.

        result: What its work has returned.

        is_committed: None as long as it is not known.
    """

    mark: str
    result: T
    is_committed: bool | None = None


@attrs.define(eq=False)
class Write(Generic[T]):
    """
    A write, to be called again where that fails for a while: one transaction with it is
    committed at most, and what its work returned there is returned.

    Attributes:
        doubt: What is not known of the last call, which has failed. None where it has certainly
            written nothing.
    """

    _attempt: Callable[[Write[T]], T]
    doubt: Doubt[T] | None = None

    def __call__(self) -> T:
        """Attempt it."""
        return self._attempt(self)


class Engines(ABC):
    """
    The connections to one database: one that writes, and several that read.

    Attributes:
        shown: The URL of the database without its password.

        dialect: The name of its kind.
    """

    dialect: str

    def __init__(self, url: sa.URL, writing: sa.Engine, reading: sa.Engine) -> None:
        self.shown = url.render_as_string(hide_password=True)
        self.writing, self.reading = writing, reading

    @abstractmethod
    def trouble_of(self, error: DatabaseError) -> Trouble | None:
        """Return what an error means. None where a statement is wrong."""

    @abstractmethod
    def explain(self, error: DatabaseError) -> Unusable:
        """Return why a server cannot start that gets this error."""

    def may_pass(self, error: DatabaseError) -> bool:
        """Return whether a server that starts waits for the end of what an error means."""
        return self.trouble_of(error) is Trouble.WAIT

    @abstractmethod
    def lock(self, connection: sa.Connection) -> None:
        """
        Keep other servers from changing tables until the end of this transaction.

        Raises:
            Unusable: No server can keep its state in the database.
        """

    @abstractmethod
    def writer(self, work: Callable[[sa.Connection], T]) -> Write[T]:
        """Return what runs *work* in a transaction that writes."""

    @abstractmethod
    def find_out(self) -> None:
        """
        Find out whether the transaction was committed of which it is not known, if there is
        one, and say so in its doubt. The next write does that, too.

        Raises:
            DatabaseError: The database cannot be asked.
        """

    @abstractmethod
    def tidy(self, connection: sa.Connection) -> None:
        """Remove what servers and commands have left that ended long ago."""

    @abstractmethod
    def keep_open(self, connection: sa.Connection) -> None:
        """Let this transaction stand still for as long as it likes."""

    def read(self, work: Callable[[sa.Connection], T]) -> T:
        """Run *work* in a transaction that reads, and sees the state of one moment."""
        with self.reading.connect() as connection, connection.begin():
            return work(connection)

    @abstractmethod
    def watch(self) -> None:
        """Notice from now on if the database is replaced by another."""

    def dispose(self) -> None:
        """Close all connections."""
        self.writing.dispose()
        self.reading.dispose()
