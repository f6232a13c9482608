"""Writes of several servers, or of a server and a command, to the same rows at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal

import pytest
import sqlalchemy as sa

from fal_server.errors import AlreadyExists, NotFound
from fal_server.limits import Limits
from fal_server.logs.kept_lines import KeptLines, shares
from fal_server.logs.log_lines import LogLine, logs, numbered, size_of
from fal_server.state.databases import Database
from fal_server.store.accounts import add_member, make_account
from fal_server.store.idempotency_keys import IdempotencyKey
from fal_server.store.keys import make_key, revoke_key
from fal_server.store.queued_requests import QueuedRequest, QueuedRequests
from fal_server.store.stages import Stages
from fal_server.store.vaults import Vault, remove_secrets, secrets

#: How often each race is run, and how many take part.
ROUNDS, RACERS = 8, 3

Race = Callable[[Callable[[Database, int], Any]], list[Any]]


@pytest.fixture
def databases(database_url: str) -> Iterator[list[Database]]:
    """The same database, as several servers have opened it."""
    opened = [Database(database_url, readers=1) for _ in range(RACERS)]
    yield opened
    for each in opened:
        each.close()


@pytest.fixture
def owner(databases: list[Database]) -> str:
    return databases[0].write_here(lambda it: make_account(it, "user", "owner")).id


@pytest.fixture
def race(databases: list[Database]) -> Iterator[Race]:
    """Have each server do the same at once, and return what each got, or its error."""
    with ThreadPoolExecutor(RACERS) as threads:

        def run(work: Callable[[Database, int], Any]) -> list[Any]:
            def one(number: int) -> Any:
                try:
                    return work(databases[number], number)
                except Exception as error:
                    return error

            return list(threads.map(one, range(RACERS)))

        yield run


def one_of(results: list[Any], refusal: type[Exception]) -> Any:
    """Return the only result that is no refusal."""
    [won] = [each for each in results if not isinstance(each, Exception)]
    assert {type(each) for each in results if each is not won} == {refusal}
    return won


def test_names_are_taken_once(race: Race):
    """A nickname is taken once, and a user is made a member once."""

    def make(kind: Literal["user", "team"], number: int) -> None:
        name = f"{kind}-{number}"
        made = race(lambda it, _: it.write_here(lambda c: make_account(c, kind, name)))
        assert one_of(made, AlreadyExists).nickname == name

    def join(number: int) -> None:
        pair = (f"team-{number}", f"user-{number}")
        joined = race(lambda it, _: it.write_here(lambda c: add_member(c, *pair)))
        one_of(joined, AlreadyExists)

    for number in range(ROUNDS):
        make("user", number)
        make("team", number)
        join(number)


def test_a_key_is_revoked_once(race: Race, databases: list[Database], owner: str):
    """A key is revoked once, however many ask for it at once."""

    def revoke(key: str) -> None:
        one_of(race(lambda it, _: it.write_here(lambda c: revoke_key(c, owner, key))), NotFound)

    for _ in range(ROUNDS):
        revoke(databases[0].write_here(lambda it: make_key(it, owner, ["a"])).id)


def test_a_request_is_accepted_once(race: Race, databases: list[Database]):
    """Of requests with the same idempotency key one is stored, and all get its id."""

    def add(round: int) -> Callable[[Database, int], str]:
        key = IdempotencyKey(scope=f"scope {round}", digest="same")

        def work(database: Database, number: int) -> str:
            request = QueuedRequest(
                id=f"{round}-{number}",
                number=RACERS * round + number,
                account_id="a",
                owner_name="o",
                alias="b",
                sender="c",
                method="POST",
                path="/",
                headers=(),
            )
            return asyncio.run(QueuedRequests(database).add(request, key))

        return work

    ids = set()
    for round in range(ROUNDS):
        [id] = set(race(add(round)))
        ids.add(id)
    assert len(ids) == ROUNDS
    assert set(asyncio.run(QueuedRequests(databases[0]).find_all([*ids]))) == ids
    assert asyncio.run(QueuedRequests(databases[0]).unfinished(lambda row: row.id)) == sorted(
        ids, key=lambda id: int(id.partition("-")[0])
    )


def test_a_secret_is_set_in_a_stage_that_stays(race: Race, owner: str):
    """A secret that is set while its stage is deleted is refused, or deleted with it."""

    def work(database: Database, number: int) -> None:
        vault, stages = Vault(database, b"k" * 32), Stages(database)
        stages.removals.append(remove_secrets)
        if number:
            asyncio.run(vault.set(owner, "staging", "NAME", "value", default_exposed=True))
        else:
            asyncio.run(stages.delete(owner, "staging"))

    def left(database: Database, _: int) -> int:
        return database.read_here(
            lambda it: it.scalar(sa.select(sa.func.count()).select_from(secrets))
        )

    for _ in range(ROUNDS):
        race(lambda it, n: None if n else asyncio.run(Stages(it).create(owner, "staging")))
        results = race(work)
        assert results[0] is None
        assert {type(each) for each in results} <= {type(None), NotFound}
        assert set(race(left)) == {0}


def test_lines_are_counted_as_they_are(race: Race, databases: list[Database]):
    """What is counted of the lines of a runner is what is kept of them, whoever drops some."""
    lines = [LogLine(message="m" * 500, account_id="a", application="b", runner_id="r")] * 20
    limits = Limits(largest_logs=40_000, largest_runner_logs=30_000)
    keepers = [KeptLines(limits) for _ in range(RACERS)]

    def work(round: int) -> Callable[[Database, int], None]:
        def insert(database: Database, number: int) -> None:
            first = 1 + 20 * (RACERS * round + number)
            some = [numbered(line, first + n) for n, line in enumerate(lines)]
            database.write_here(lambda it: keepers[number].insert(some, it))

        return insert

    for round in range(ROUNDS):
        assert race(work(round)) == [None] * RACERS

    def read(connection: sa.Connection) -> tuple[int, int, int]:
        kept = sum(
            size_of(LogLine(message=each, account_id="a", application="b", runner_id="r"))
            for each in connection.scalars(sa.select(logs.c.message))
        )
        share = connection.execute(sa.select(shares)).one()
        count = connection.scalar(sa.select(sa.func.count()).select_from(logs))
        return kept, share.size, share.dropped + (count or 0) - 1

    kept, counted, all_lines = databases[0].read_here(read)
    assert kept == counted <= 30_000
    assert all_lines == 20 * RACERS * ROUNDS
