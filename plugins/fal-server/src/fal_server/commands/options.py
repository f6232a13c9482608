"""
Options that the commands share, and the data directory and the database that they name.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fal_core.cli import complete_host, print_json
from fal_server.settings import ServerSettings, default_data

if TYPE_CHECKING:
    from fal_server.access.server_keys import ServerKeys
    from fal_server.state.databases import Database

#: Seconds that these commands wait for a locked database.
_PATIENCE = 10.0

data_option = click.option(
    "--data",
    type=click.Path(file_okay=False, path_type=Path),
    help="The data directory [default: fal-core/server where programs keep their data].",
)
database_option = click.option(
    "--database",
    metavar="URL",
    envvar="FAL_SERVER_DATABASE",
    help="The URL of a database to use instead of a file in the directory.",
)
files_option = click.option(
    "--files",
    metavar="URL",
    envvar="FAL_SERVER_FILES",
    help="The URL of a store to keep files in instead of the directory, as in "
    "s3://bucket/prefix or file:///srv/shared.",
)
secrets_option = click.option(
    "--secrets-key",
    type=click.Path(dir_okay=False, path_type=Path),
    envvar="FAL_SERVER_SECRETS_KEY",
    help="The file of the key that encrypts secrets, to keep that out of the directory and of "
    "the database.",
)
machines_option = click.option(
    "--on",
    "--machine",
    "machines",
    metavar="HOST",
    multiple=True,
    default=("local",),
    show_default=True,
    shell_complete=complete_host,
    help="A host of the runners, as a name or a URL; several share them.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, for machines.")


def report(sentence: str, *, as_json: bool, **facts: Any) -> None:
    """
    Report what was done: print *sentence*, or *facts* as JSON.
    """
    if as_json:
        print_json(facts)
    else:
        click.echo(sentence)


def settings_of(data: Path | None, database: str | None) -> ServerSettings:
    """
    Return the settings of the server of a data directory.
    """
    return ServerSettings(data=(data or default_data()).absolute(), database=database)


@contextlib.contextmanager
def opened_state(data: Path | None, database: str | None) -> Iterator[Database]:
    """
    Open the database of a server, whether it runs or not.

    Raises:
        ServerError: It cannot be used, or is empty although a server has run.
    """
    from fal_server.access.owners import has_accounts
    from fal_server.state.data_directories import DataDirectory
    from fal_server.state.database_urls import is_file
    from fal_server.state.databases import open_database
    from fal_server.store.accounts import list_accounts
    from fal_server.store.tables import table_names

    settings = settings_of(data, database)
    if not is_file(settings.database_url):
        # On this machine there need not be a data directory.
        table_names()
        with open_database(settings.database_url, patience=_PATIENCE) as state:
            if not state.read_here(list_accounts):
                raise click.ClickException(
                    "No server has run with this database. Start one with 'fal-core server "
                    "start' and '--database'."
                )
            yield state
        return
    unused = click.ClickException(
        f"No server has run on {settings.data}. Start one with 'fal-core server start'."
    )
    if not settings.data.exists():
        raise unused
    directory = DataDirectory(settings.data)
    if database is None:
        if not directory.was_used and not (settings.data / "state.db").exists():
            raise unused
        directory.claim_state()
    table_names()
    with open_database(settings.database_url, patience=_PATIENCE) as state:
        if not has_accounts(state, directory):
            raise unused
        yield state


@contextlib.contextmanager
def opened_keys(
    data: Path | None, database: str | None, secrets_file: Path | None = None
) -> Iterator[ServerKeys]:
    """
    Open the keys of a server, whether it runs or not.

    Raises:
        ServerError: The database cannot be used, or is empty although a server has run.
    """
    from fal_server.access.server_keys import ServerKeys
    from fal_server.state.data_directories import DataDirectory
    from fal_server.state.database_urls import is_file

    settings = settings_of(data, database)
    with opened_state(data, database) as state:
        is_here = is_file(settings.database_url)
        directory = DataDirectory(settings.data) if is_here else None
        yield ServerKeys(state, directory, secrets_file)
