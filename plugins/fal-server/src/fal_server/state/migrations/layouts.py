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
LAYOUT = 9

#: The table with the layout. Servers that knew no migrations read it too, so that they leave
#: a newer state alone.
layouts = sa.Table("layout", sa.MetaData(), sa.Column("version", sa.Integer, nullable=False))


def find_layout(connection: sa.Connection) -> int | None:
    """Return the layout of the tables. None where there are none."""
    if not sa.inspect(connection).has_table(layouts.name):
        return None
    return connection.scalar(sa.select(layouts.c.version))


def migrate(connection: sa.Connection, layout: int = LAYOUT) -> None:
    """
    Make the tables, or change those of an earlier version.

    Arguments:
        layout: What they are to be.

    Raises:
        DataTooNew: A newer version of the server has made them.
    """
    found = find_layout(connection)
    if found == layout:
        return
    if found is not None and found > layout:
        raise DataTooNew(found, layout)
    _run(connection, layout)
    layouts.create(connection, checkfirst=True)
    connection.execute(layouts.delete())
    connection.execute(layouts.insert().values(version=layout))


def _run(connection: sa.Connection, layout: int) -> None:
    # It takes a while to import.
    from alembic import command
    from alembic.config import Config

    config = Config()
    folder = str(Path(__file__).parent).replace("%", "%%")
    config.set_main_option("script_location", folder)
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    command.upgrade(config, str(layout))
