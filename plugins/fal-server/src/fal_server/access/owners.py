"""
Owners: the first account of a state, and a state that has lost its accounts.
"""

from __future__ import annotations

import sqlalchemy as sa

from fal_server.access.permissions import PRESETS
from fal_server.errors import StateLost
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


def make_owner(database: Database, directory: DataDirectory, nickname: str) -> NewKey:
    """
    Create the first user with a key for everything, which the data directory keeps.
    """

    def make(connection: sa.Connection) -> NewKey:
        account = make_account(connection, "user", nickname)
        return make_key(
            connection, account.id, PRESETS["FULL"], preset="FULL", alias="first key"
        )

    key = database.write_here(make)
    directory.write_private(directory.key_file, key.text.encode())
    return key
