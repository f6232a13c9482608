"""URLs of databases, and those that cannot be used."""

from __future__ import annotations

import sys

import pytest

from fal_server.errors import ServerError
from fal_server.state.database_urls import make_engines


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("words", "is not the URL of a database"),
        ("me:secret@host/state", "is not the URL of a database"),
        ("oracular://me:secret@host/state", "in a database of kind 'oracular'"),
        ("mysql+pymysql://me:secret@host/state", r"in a database of kind 'mysql\+pymysql'"),
        ("postgresql+pg8000://me:secret@host/state", r"of kind 'postgresql\+pg8000'"),
    ],
)
def test_url_of_no_usable_database(url: str, sentence: str):
    """
    A URL that names no database, or one that cannot be used here, is an error that says
    what to do and does not show the password.
    """
    with pytest.raises(ServerError, match=sentence) as caught:
        make_engines(url, readers=1)
    assert "secret" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_driver_that_is_not_installed(monkeypatch: pytest.MonkeyPatch):
    """PostgreSQL without its driver is an error that says what installs it."""
    monkeypatch.setitem(sys.modules, "psycopg", None)
    monkeypatch.delitem(sys.modules, "fal_server.state.postgresql_servers", raising=False)
    with pytest.raises(ServerError, match=r"pip install 'fal-core\[server-postgresql\]'"):
        make_engines("postgresql://me:secret@host/state", readers=1)
