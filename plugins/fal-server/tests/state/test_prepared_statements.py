"""
Prepared statements, on each kind of database.
"""

from __future__ import annotations

import sqlalchemy as sa

from fal_server.state.databases import Database
from fal_server.state.prepared_statements import Prepared

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
