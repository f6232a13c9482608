"""Files of SQLite: the meaning of their errors, and files that are replaced."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import DatabaseError

from fal_server.state.engines import NotThere, Trouble
from fal_server.state.sqlite_files import SQLiteFile, identify, path_of

words = sa.Table("words", sa.MetaData(), sa.Column("text", sa.String, nullable=False))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state.db"


@pytest.fixture
def file(path: Path) -> Iterator[SQLiteFile]:
    made = SQLiteFile(sa.make_url(f"sqlite:///{path}"), readers=1)
    made.writer(words.create)()
    yield made
    made.dispose()


def test_locked_database_is_known_by_its_error(file: SQLiteFile, path: Path):
    """The error of a database that another connection has locked means that, and no other."""
    other = SQLiteFile(sa.make_url(f"sqlite:///{path}"), readers=1)
    with file.writing.connect() as connection, connection.begin():
        with other.writing.connect() as waiting, pytest.raises(DatabaseError) as locked:
            waiting.begin()
        with pytest.raises(DatabaseError) as wrong:
            connection.execute(sa.text("SELECT nothing"))
    other.dispose()
    assert file.may_pass(locked.value)
    assert file.trouble_of(locked.value) is Trouble.WAIT
    assert not file.may_pass(wrong.value)


def test_full_database_is_known_by_its_error(file: SQLiteFile):
    """The error of a database that cannot grow means a full disk."""
    with file.writing.connect() as connection, connection.begin():
        connection.execute(sa.text("PRAGMA max_page_count = 1"))
        with pytest.raises(DatabaseError) as caught:
            connection.execute(words.insert().values(text="a" * 100_000))
    assert file.trouble_of(caught.value) is Trouble.FULL
    assert not file.may_pass(caught.value)


def test_file_that_is_replaced(file: SQLiteFile, path: Path):
    """The file of a database is known, and nothing is written to another file at its path."""
    assert path_of(sa.make_url(f"sqlite:///{path}")) == str(path)
    assert path_of(sa.make_url("sqlite://")) is None
    file.watch()
    first = identify(str(path))
    assert first is not None
    assert identify(str(path)) == first
    (path.parent / "other").touch()
    os.replace(path.parent / "other", path)
    assert identify(str(path)) not in (first, None)
    for use in (file.writer(lambda connection: None), lambda: file.read(lambda _: None)):
        with pytest.raises(NotThere, match="is gone"):
            use()
    path.unlink()
    assert identify(str(path)) is identify(None) is None
