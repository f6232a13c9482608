"""Claims: one holder at a time, and what it writes later is refused."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
import sqlalchemy as sa

from fal_server.claims.claims import (
    Fence,
    add_claim,
    claims,
    give_claim_back,
    read_claim,
    renew_claim,
    take_claim,
)
from fal_server.errors import Fenced
from fal_server.state.databases import Database


@pytest.fixture
def shared(postgresql_url: str) -> Iterator[Database]:
    """A database of PostgreSQL with a claim that nobody holds."""
    opened = Database(postgresql_url)
    opened.write_here(lambda connection: add_claim(connection, "one"))
    yield opened
    opened.close()


def take(database: Database, holder: str) -> int | None:
    return database.write_here(lambda it: take_claim(it, "one", holder), fenced=False)


def expire(database: Database) -> None:
    late = claims.update().values(expires_at=claims.c.expires_at - 60)
    database.write_here(lambda connection: connection.execute(late), fenced=False)


def test_claim_has_one_holder(shared: Database):
    """
    A claim is taken when nobody holds it, or when it has expired, and its token grows each
    time. A second claim of the name changes nothing.
    """
    assert take(shared, "a") == 1
    assert take(shared, "b") is None
    shared.write_here(lambda connection: add_claim(connection, "one"))
    expire(shared)
    assert take(shared, "b") == 2
    found = shared.read_here(lambda connection: read_claim(connection, "one"))
    assert (found.token, found.holder, found.is_ready) == (2, "b", False)
    assert 0 < found.expires_in <= 3
    shared.write_here(lambda it: give_claim_back(it, "one", "b", 2))
    assert take(shared, "a") == 3


def test_only_the_holder_renews_a_claim(shared: Database):
    """
    A claim that another one has taken is not renewed, and not given back; one that has expired
    and that nobody has taken is renewed.
    """

    def renew(holder: str, token: int) -> bool:
        return shared.write_here(
            lambda it: renew_claim(it, "one", holder, token, is_ready=True)
        )

    take(shared, "a")
    expire(shared)
    assert renew("a", 1)
    assert take(shared, "b") is None
    expire(shared)
    take(shared, "b")
    assert not renew("a", 1)
    shared.write_here(lambda it: give_claim_back(it, "one", "a", 1))
    assert renew("b", 2)
    assert shared.read_here(lambda connection: read_claim(connection, "one")).is_ready


def test_late_writes_are_refused(shared: Database):
    """Once a claim was taken by another, what its earlier holder writes is refused."""
    take(shared, "a")
    shared.fence = Fence("one", "a", 1)
    shared.write_here(lambda connection: add_claim(connection, "two"))
    expire(shared)
    # Nobody has taken it.
    shared.write_here(lambda connection: add_claim(connection, "three"))
    take(shared, "b")
    with pytest.raises(Fenced, match="Another replica"):
        shared.write_here(lambda connection: add_claim(connection, "four"))
    names = shared.read_here(lambda it: set(it.scalars(sa.select(claims.c.name))))
    assert names == {"one", "two", "three"}


def test_claim_is_not_taken_while_its_holder_writes(shared: Database, postgresql_url: str):
    """
    What a transaction writes that has passed the fence is there before the claim is taken; the
    claim is renewed meanwhile.
    """
    take(shared, "a")
    shared.fence = Fence("one", "a", 1)
    expire(shared)
    begun, ended = threading.Event(), threading.Event()

    def write(connection: sa.Connection) -> None:
        begun.set()
        assert ended.wait(60)

    writing = threading.Thread(target=lambda: shared.write_here(write))
    writing.start()
    other = Database(postgresql_url)
    try:
        assert begun.wait(60)
        assert take(other, "b") is None
        assert other.write_here(lambda it: renew_claim(it, "one", "a", 1, is_ready=False))
        expire(other)
        ended.set()
        writing.join()
        assert take(other, "b") == 2
    finally:
        ended.set()
        other.close()
