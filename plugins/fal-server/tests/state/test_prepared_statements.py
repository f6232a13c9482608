"""Prepared statements, on each kind of database."""

from __future__ import annotations

import asyncio
from typing import Any

import sqlalchemy as sa

from fal_server.state.databases import Database
from fal_server.state.prepared_statements import Prepared, Row, run_together

words = sa.Table(
    "words",
    sa.MetaData(),
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("text", sa.String, nullable=False),
    sa.Column("kind", sa.String),
)


def test_prepared_statement_is_compiled_once(database: Database):
    """
    A prepared statement changes rows like the original, with its own constants, and reports
    how many they were.
    """
    rename = Prepared(
        words.update()
        .where(words.c.text == sa.bindparam("old"), words.c.kind == "noun")
        .values(text=sa.bindparam("new"))
    )
    add = Prepared(words.insert())

    def work(connection: sa.Connection) -> list[str]:
        words.create(connection)
        for id, kind in enumerate(("noun", "noun", "verb")):
            assert add.run(connection, {"id": id, "text": "bark", "kind": kind}) == 1
        assert rename.run(connection, {"old": "bark", "new": "bite"}) == 2
        assert rename.run(connection, {"old": "bark", "new": "bite"}) == 0
        return list(connection.scalars(sa.select(words.c.text).order_by(words.c.id)))

    assert database.write_here(work) == ["bite", "bite", "bark"]
    assert len(rename._compiled) == len(add._compiled) == 1


def test_rows_of_one_statement_are_written_at_once(database: Database):
    """
    Rows that are written together come before other writes, whose results stand in their
    places, and each of them has its own values.
    """
    database.write_here(words.create)
    add = Prepared(words.insert())

    def count(connection: sa.Connection) -> int:
        return len(connection.scalars(sa.select(words.c.id)).all())

    rows = [Row(add, {"id": id, "text": f"bark {id}", "kind": None}) for id in range(3)]
    works = [rows[0], count, *rows[1:]]
    assert database.write_here(lambda it: run_together(it, works)) == [None, 3, None, None]
    query = sa.select(words.c.text).order_by(words.c.id)
    assert database.read_here(lambda it: it.scalars(query).all()) == [
        "bark 0",
        "bark 1",
        "bark 2",
    ]


def test_row_that_fails_is_rolled_back_alone(database: Database):
    """A row that the database refuses is an error for its writer, and for no other."""
    database.write_here(words.create)
    add = Prepared(words.insert())

    async def main() -> list[Any]:
        rows = [{"id": id, "text": "bark", "kind": None} for id in (1, 2, 2, 3)]
        writes = (database.write(Row(add, row)) for row in rows)
        return await asyncio.gather(*writes, return_exceptions=True)

    results = asyncio.run(main())
    assert [type(each) for each in results] == [type(None)] * 2 + [
        sa.exc.IntegrityError,
        type(None),
    ]
