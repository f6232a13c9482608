"""
Engines: URLs of databases, and the meaning of their errors.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import DatabaseError

from fal_server.errors import ServerError
from fal_server.state.engines import (
    Prepared,
    identify,
    is_full,
    is_locked,
    make_engine,
    path_of,
)

tables = sa.MetaData()
words = sa.Table(
    "words",
    tables,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("text", sa.String, nullable=False),
    sa.Column("kind", sa.String),
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state.db"


@pytest.fixture
def engine(path: Path) -> Iterator[sa.Engine]:
    made = make_engine(f"sqlite:///{path}", begin="BEGIN IMMEDIATE", pool=1)
    tables.create_all(made)
    yield made
    made.dispose()


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("words", "is not the URL of a database"),
        ("me:secret@host/state", "is not the URL of a database"),
        ("oracular://me:secret@host/state", "No kind of database is called 'oracular'"),
        ("mysql+pymysql://me:secret@host/state", "needs the module 'pymysql'"),
    ],
)
def test_url_of_no_usable_database(url: str, sentence: str):
    """
    A URL that names no database, or one that cannot be used here, is an error that says
    what to do and does not show the password.
    """
    with pytest.raises(ServerError, match=sentence) as caught:
        make_engine(url, begin="BEGIN", pool=1)
    assert "secret" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_locked_database_is_known_by_its_error(engine: sa.Engine, path: Path):
    """
    The error of a database that another connection has locked means that, and no other.
    """
    other = make_engine(f"sqlite:///{path}", begin="BEGIN IMMEDIATE", pool=1)
    with engine.connect() as connection, connection.begin():
        with other.connect() as waiting, pytest.raises(DatabaseError) as locked:
            waiting.begin()
        with pytest.raises(DatabaseError) as wrong:
            connection.execute(sa.text("SELECT nothing"))
    other.dispose()
    assert is_locked(locked.value)
    assert not is_full(locked.value, str(path))
    assert not is_locked(wrong.value)
    assert not is_full(wrong.value, str(path))


def test_full_database_is_known_by_its_error(engine: sa.Engine, path: Path):
    """
    The error of a database that cannot grow means a full disk.
    """
    with engine.connect() as connection, connection.begin():
        connection.execute(sa.text("PRAGMA max_page_count = 1"))
        with pytest.raises(DatabaseError) as caught:
            connection.execute(words.insert().values(id=1, text="a" * 100_000))
    assert is_full(caught.value, str(path))
    assert not is_locked(caught.value)


def test_file_of_a_database(engine: sa.Engine, path: Path):
    """
    The file of a database is known, and another file at its path is told apart from it.
    """
    assert path_of(engine) == str(path)
    assert path_of(make_engine("sqlite://", begin="BEGIN", pool=1)) is None
    first = identify(str(path))
    assert first is not None
    assert identify(str(path)) == first
    (path.parent / "other").touch()
    os.replace(path.parent / "other", path)
    assert identify(str(path)) not in (first, None)
    path.unlink()
    assert identify(str(path)) is identify(None) is None


def test_prepared_statement_is_compiled_once(engine: sa.Engine):
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
    with engine.connect() as connection, connection.begin():
        for id, kind in enumerate(("noun", "noun", "verb")):
            assert add.run(connection, {"id": id, "text": "bark", "kind": kind}) == 1
        assert rename.run(connection, {"old": "bark", "new": "bite"}) == 2
        assert rename.run(connection, {"old": "bark", "new": "bite"}) == 0
        found = connection.scalars(sa.select(words.c.text).order_by(words.c.id))
        assert list(found) == ["bite", "bite", "bark"]
    assert len(rename._compiled) == len(add._compiled) == 1
