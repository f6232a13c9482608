"""Memberships: what a replica shows the others, and whether it takes the claim."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator

import attrs
import pytest
from polling import PATIENCE

from fal_server.claims.claims import NOW
from fal_server.claims.memberships import Membership, Standing
from fal_server.claims.replicas import FORGOTTEN, Replica, read_replicas, replicas, show_replica
from fal_server.state.databases import Database

ME = Replica(
    id="me",
    address="127.0.0.1",
    ports={"api": 1},
    authority="",
    machine="here",
    files="here",
    version="1",
)


@pytest.fixture
def database(postgresql_url: str) -> Iterator[Database]:
    opened = Database(postgresql_url)
    yield opened
    opened.close()


@contextlib.asynccontextmanager
async def member(
    url: str, told: Callable[[Standing], object] = lambda _: None, *, resigns: bool = False
) -> AsyncIterator[Membership]:
    """Be among the replicas."""
    made = Membership(url, ME, told, lambda: None)
    if resigns:
        made.resign()
    made.start()
    try:
        yield made
    finally:
        await asyncio.to_thread(made.close)


async def until(condition: Callable[[], bool]) -> None:
    async def look() -> None:
        while not condition():
            await asyncio.sleep(0.02)

    await asyncio.wait_for(look(), PATIENCE)


def test_replicas_that_died_are_forgotten(database: Database, postgresql_url: str):
    """A replica that has been silent for a minute is listed no more, however long the others run."""

    def add(id: str, silence: float) -> None:
        database.write_here(lambda it: show_replica(it, attrs.evolve(ME, id=id)))
        changed = replicas.update().where(replicas.c.id == id)
        late = changed.values(seen_at=NOW - silence)
        database.write_here(lambda it: it.execute(late))

    def listed() -> set[str]:
        return {each.id for each in database.read_here(read_replicas)}

    async def main() -> None:
        async with member(postgresql_url):
            await until(lambda: "me" in listed())
            add("late", FORGOTTEN / 2)
            add("dead", FORGOTTEN + 1)
            await until(lambda: listed() == {"me", "late"})

    asyncio.run(main())


def test_announcement_after_the_end(postgresql_url: str):
    """A request that was stored as its replica ended is no error: whoever decides finds it."""

    async def main() -> None:
        async with member(postgresql_url) as made:
            made.announce()
        made._announces = False
        made.announce()

    asyncio.run(main())


def test_replica_that_ends_takes_no_claim(postgresql_url: str):
    """
    A replica that is about to end leaves the claim to others, and gives back what it holds; it
    is among them until it has ended.
    """

    async def main() -> None:
        standings: list[Standing] = []
        async with member(postgresql_url, standings.append) as made:
            await until(lambda: any(each.is_mine for each in standings))
            made.resign()
            await until(lambda: not standings[-1].is_mine)
        standings.clear()
        async with member(postgresql_url, standings.append, resigns=True):
            await until(lambda: bool(standings))
            assert standings == [Standing(token=1)]

    asyncio.run(main())
