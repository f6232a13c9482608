"""Migrations: from the tables of every version so far, on each kind of database."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from fal_server.errors import DataTooNew, StateBroken
from fal_server.specs.scaling import Scaling
from fal_server.state.database_urls import make_engines
from fal_server.state.databases import Database, metadata
from fal_server.state.migrations import layouts
from fal_server.state.migrations.layouts import LAYOUT, find_layout
from fal_server.store.accounts import make_account
from fal_server.store.queued_requests import QueuedRequests
from fal_server.store.revisions import Revisions
from fal_server.store.tables import MODULES, table_names

#: The tables of a layout as servers without migrations made them. The first is as it was
#: before its successor.
OF_LAYOUTS = Path(__file__).parent / "layouts"

#: Two requests in the tables of layout 1.
REQUESTS = """
insert into requests values (
    'waits', 7, 'user|1', 'owner', 'app', 'user|2', 'POST', '/', '[["A", "b"]]', x'010203',
    0, '', 'queued', 0, 1.0, null, null, null, null, null, null, null, null, 0
);
insert into requests values (
    'over', 6, 'user|1', 'owner', 'app', 'user|2', 'POST', '/', '[]', x'', 0, '',
    'completed', 1, 1.0, 2.0, 3.0, 200, '[]', x'04', null, null, null, 0
);
"""

Open = Callable[[], Database]


@pytest.fixture
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a database without tables."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'state.db'}"
    url: str = request.getfixturevalue("postgresql").make_empty()
    return url


on_both = pytest.mark.parametrize("empty_url", ["sqlite", "postgresql"], indirect=True)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "state.db"


@pytest.fixture
def opened(file: Path) -> Iterator[Open]:
    made: list[Database] = []

    def open_it() -> Database:
        made.append(Database(f"sqlite:///{file}"))
        return made[-1]

    yield open_it
    for each in made:
        each.close()


def make_tables(file: Path, layout: int, rows: str = "") -> None:
    with closing(sqlite3.connect(file)) as connection:
        connection.executescript((OF_LAYOUTS / f"{layout}.sql").read_text() + rows)


def differences(connection: sa.Connection) -> list[Any]:
    """Return how the tables differ from those that the modules declare."""
    context = MigrationContext.configure(connection, opts={"compare_type": True})
    assert len(MODULES) > 1
    ours = table_names()

    def is_ours(difference: Any) -> bool:
        table = difference[1] if difference[0].endswith("_table") else None
        return table is None or table.name in ours

    return [each for each in compare_metadata(context, metadata) if is_ours(each)]


def indexes(connection: sa.Connection) -> set[tuple[str, str]]:
    """Return the names of the indexes, each with what it is made by."""
    query = "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL"
    return {(name, sql) for name, sql in connection.exec_driver_sql(query)}


def test_layout_is_the_newest_migration():
    """The layout of this version is the revision of the newest migration."""
    config = Config()
    config.set_main_option("script_location", str(Path(layouts.__file__).parent))
    config.set_main_option("path_separator", "os")
    assert ScriptDirectory.from_config(config).get_heads() == [str(LAYOUT)]


@on_both
def test_new_database_has_the_tables_that_are_declared(empty_url: str):
    """The migrations make what the modules declare: a change of those needs one of these."""
    database = Database(empty_url)
    try:
        assert database.read_here(find_layout) == LAYOUT
        assert database.read_here(differences) == []
    finally:
        database.close()


@pytest.mark.parametrize("layout", [1, 2])
def test_tables_of_an_earlier_layout(opened: Open, file: Path, tmp_path: Path, layout: int):
    """Tables of an earlier layout become those of a new database."""
    make_tables(file, layout)
    database = opened()
    assert database.read_here(find_layout) == LAYOUT
    assert database.read_here(differences) == []
    new = Database(f"sqlite:///{tmp_path / 'new.db'}")
    try:
        assert database.read_here(indexes) == new.read_here(indexes)
    finally:
        new.close()


def test_requests_of_the_first_layout(opened: Open, file: Path):
    """Requests of the first layout are found with their bodies, also by the next server."""
    make_tables(file, 1, REQUESTS)

    async def main(database: Database) -> None:
        requests = QueuedRequests(database)
        rows = await requests.unfinished(lambda row: (row.id, row.start_timeout, row.size))
        assert rows == [("waits", None, 3 + len('/[["A", "b"]]'))]
        waits, over = await requests.find("waits"), await requests.find("over")
        assert waits is not None
        assert over is not None
        assert (waits.body_size, over.answer_size) == (3, 1)
        assert waits.headers == (("A", "b"),)
        assert await requests.begin("waits", attempts=1) == b"\1\2\3"
        assert await requests.find_with_answer("over") == (over, b"\4")
        assert await requests.last_number() == 7

    for _ in range(2):
        database = opened()
        asyncio.run(main(database))
        database.close()


@on_both
def test_servers_that_start_at_once(empty_url: str):
    """Of servers that start on an empty database at once, one makes the tables."""
    with ThreadPoolExecutor(4) as threads:
        databases = list(threads.map(lambda _: Database(empty_url, readers=1), range(4)))
    for each in databases:
        assert each.read_here(find_layout) == LAYOUT
        each.close()


@on_both
def test_newer_layout_is_refused(empty_url: str):
    """A state that a newer version has written is left alone."""
    database = Database(empty_url)
    change = layouts.layouts.update().values(version=99)
    database.write_here(lambda connection: connection.execute(change))
    database.close()
    with pytest.raises(DataTooNew, match="layout 99"):
        Database(empty_url)


def test_migration_that_fails_changes_nothing(opened: Open, file: Path):
    """A migration that fails leaves all as it was, for the version that made it."""
    make_tables(file, 1, "create table requests_by_end (number integer);")
    with closing(sqlite3.connect(file)) as connection:
        before = list(connection.iterdump())
    with pytest.raises(StateBroken, match="requests_by_end"):
        opened()
    with closing(sqlite3.connect(file)) as connection:
        assert list(connection.iterdump()) == before


@on_both
def test_revisions_of_an_earlier_layout(empty_url: str):
    """What clients named the server that have deployed with an earlier version is unknown."""
    engine = make_engines(empty_url, readers=1).writing
    with engine.begin() as connection:
        layouts.migrate(connection, 7)
        account = make_account(connection, "user", "owner").id
        scaling = json.dumps(Scaling().to_json())
        row = {"id": "r", "account": account, "scaling": scaling, "request": b""}
        connection.execute(
            sa.text(
                "INSERT INTO revisions (id, account_id, alias, environment, request, scaling, "
                "created_at) VALUES (:id, :account, 'app', 'main', :request, :scaling, 1.0)"
            ),
            row,
        )
    engine.dispose()
    database = Database(empty_url)
    try:
        found = asyncio.run(Revisions(database).find(account, "r"))
        assert (found.alias, found.server_host) == ("app", "")
    finally:
        database.close()
