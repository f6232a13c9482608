"""Owners: the first account of a state, and a state that has lost its accounts."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from fal_server.access.permissions import PRESETS
from fal_server.access.server_keys import ServerKeys
from fal_server.errors import AlreadyExists, StateLost
from fal_server.state.data_directories import DataDirectory
from fal_server.state.databases import Database
from fal_server.store.accounts import list_accounts, make_account
from fal_server.store.keys import NewKey, make_key


def has_accounts(database: Database, directory: DataDirectory) -> bool:
    """
    Return whether there is an account. There is none until the first start.

    Raises:
        StateLost: There is none, but a server has run on the directory before.
    """
    if database.read_here(list_accounts):
        return True
    if directory.was_used:
        url = sa.engine.make_url(database.url).render_as_string(hide_password=True)
        raise StateLost(url, str(directory.path))
    return False


def begin_state(
    database: Database, directory: DataDirectory, keys: ServerKeys, nickname: str
) -> NewKey | None:
    """
    Make the keys of the server, and the first user with a key for everything, which the data
    directory keeps. Return that key, or None where this was done before.

    Raises:
        StateLost: It was done before, and there is nothing left of it.
    """
    if has_accounts(database, directory):
        keys.adopt_files()
        return None
    # In this order: who has an account has keys, also after a kill.
    keys.make_files()
    try:
        return _make_owner(database, directory, keys, nickname)
    except (AlreadyExists, IntegrityError):
        if not has_accounts(database, directory):
            raise
        # Another server has begun with the same state at the same moment.
        return None


def _make_owner(
    database: Database, directory: DataDirectory, keys: ServerKeys, nickname: str
) -> NewKey:
    def make(connection: sa.Connection) -> NewKey:
        # Another server that does the same waits here until this is done.
        keys.insert(connection)
        account = make_account(connection, "user", nickname)
        return make_key(
            connection, account.id, PRESETS["FULL"], preset="FULL", alias="first key"
        )

    key = database.write_here(make, fenced=False)
    directory.write_private(directory.key_file, key.text.encode())
    return key
