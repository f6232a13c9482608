"""``fal-core server backup`` and ``restore``: all of a server in one file, and back."""

from __future__ import annotations

from pathlib import Path

import click

from fal_server.commands.options import (
    data_option,
    database_option,
    files_option,
    json_option,
    opened_keys,
    report,
    settings_of,
)

_FILE = click.Path(dir_okay=False, path_type=Path)


@click.command(short_help="Write all of a server to a file.")
@click.argument("file", type=_FILE)
@json_option
@data_option
@database_option
@files_option
def backup(
    file: Path, as_json: bool, data: Path | None, database: str | None, files: str | None
) -> None:
    """
    Write all of a server to FILE, whether it runs or not: its database as it is at one
    moment, the files that are named there, and its keys.

    FILE is as secret as the keys. What applications have written to /data is not in it, nor is
    a key that --secrets-key keeps elsewhere.

    \b
    Example:
      fal-core server backup /srv/backups/monday.tar
    """
    from fal_server.backups.making import make_backup
    from fal_server.state.opened_stores import open_files

    with opened_keys(data, database) as keys:
        store = open_files(files, settings_of(data, database).data)
        made = make_backup(keys.database, store, keys, file)
    if made.missing and not as_json:
        click.echo(f"{made.missing} files that the state names were not there.", err=True)
    report(
        f"{file} has {made.rows} rows and {made.files} files in {made.size} bytes.",
        as_json=as_json,
        file=str(file),
        rows=made.rows,
        files=made.files,
        missing=made.missing,
        bytes=made.size,
    )


@click.command(short_help="Make a server of such a file.")
@click.argument("file", type=_FILE)
@json_option
@data_option
@database_option
@files_option
def restore(
    file: Path, as_json: bool, data: Path | None, database: str | None, files: str | None
) -> None:
    """
    Make a server of FILE, which 'fal-core server backup' has written, in an empty directory
    and an empty database: of the same kind, or of another.

    Queued requests that have no response yet are run by it. Runners of the other server stay
    that server's.

    \b
    Example:
      fal-core server restore monday.tar --database postgresql://fal@db.example.com/fal
    """
    import attrs

    from fal_server.backups.restoring import restore_backup
    from fal_server.store.tables import table_names

    table_names()
    settings = attrs.evolve(settings_of(data, database), files=files)
    rows, count = restore_backup(settings, file)
    report(
        f"{settings.data} is a server with {rows} rows and {count} files. Start it with "
        "'fal-core server start' and the same options.",
        as_json=as_json,
        rows=rows,
        files=count,
    )
