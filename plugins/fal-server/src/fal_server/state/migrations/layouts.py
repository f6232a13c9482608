"""
Layouts of the tables: one number for each, which is that of the migration that leads to it.

Migrations lead forward only. Each is a module of :mod:`fal_server.state.migrations.versions`,
whose revision is its number.
"""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa

from fal_server.errors import DataTooNew

#: The layout of this version of the server.
LAYOUT = 3

#: The table with the layout. Servers that knew no migrations read it too, so that they leave
#: a newer state alone.
layouts = sa.Table("layout", sa.MetaData(), sa.Column("version", sa.Integer, nullable=False))


def find_layout(connection: sa.Connection) -> int | None:
    """
    Return the layout of the tables. None where there are none.
    """
    if not sa.inspect(connection).has_table(layouts.name):
        return None
    return connection.scalar(sa.select(layouts.c.version))


def migrate(connection: sa.Connection) -> None:
    """
    Make the tables, or change those of an earlier version.

    Raises:
        DataTooNew: A newer version of the server has made them.
    """
    found = find_layout(connection)
    if found == LAYOUT:
        return
    if found is not None and found > LAYOUT:
        raise DataTooNew(found, LAYOUT)
    _run(connection)
    layouts.create(connection, checkfirst=True)
    connection.execute(layouts.delete())
    connection.execute(layouts.insert().values(version=LAYOUT))


def _run(connection: sa.Connection) -> None:
    # It takes a while to import.
    from alembic import command
    from alembic.config import Config

    config = Config()
    folder = str(Path(__file__).parent).replace("%", "%%")
    config.set_main_option("script_location", folder)
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
