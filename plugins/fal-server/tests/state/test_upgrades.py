"""
Upgrades of databases that an earlier version has made.
"""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

from fal_server.state.databases import LAYOUT, Database
from fal_server.store.queued_requests import QueuedRequests

#: The table of requests in the first layout.
EARLIER = """
create table layout (version integer not null);
insert into layout values (1);
create table requests (
    id varchar primary key not null, number bigint not null, account_id varchar not null,
    owner_name varchar not null, alias varchar not null, sender varchar not null,
    method varchar not null, path varchar not null, headers varchar not null,
    body blob not null, priority integer not null, webhook varchar not null,
    state varchar not null, attempts integer not null, submitted_at float not null,
    started_at float, ended_at float, status integer, answer_headers varchar, answer blob,
    error varchar, error_type varchar, webhook_due float, webhook_tries integer not null
);
create index requests_by_state on requests (state);
insert into requests values (
    'waits', 7, 'user|1', 'owner', 'app', 'user|2', 'POST', '/', '[["A", "b"]]', x'010203',
    0, '', 'queued', 0, 1.0, null, null, null, null, null, null, null, null, 0
);
insert into requests values (
    'over', 6, 'user|1', 'owner', 'app', 'user|2', 'POST', '/', '[]', x'', 0, '',
    'completed', 1, 1.0, 2.0, 3.0, 200, '[]', x'04', null, null, null, 0
);
"""


def test_requests_of_an_earlier_layout(tmp_path: Path):
    """
    Requests of an earlier layout are found with their bodies, and further ones are stored
    beside them, also by the next server.
    """
    with closing(sqlite3.connect(tmp_path / "state.db")) as connection:
        connection.executescript(EARLIER)

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
        database = Database(f"sqlite:///{tmp_path / 'state.db'}")
        try:
            asyncio.run(main(database))
        finally:
            database.close()
    with closing(sqlite3.connect(tmp_path / "state.db")) as connection:
        assert connection.execute("select version from layout").fetchall() == [(LAYOUT,)]
        names = {name for (_, name, *_) in connection.execute("pragma index_list(requests)")}
        assert {"requests_by_end", "requests_by_number", "requests_by_state"} <= names
