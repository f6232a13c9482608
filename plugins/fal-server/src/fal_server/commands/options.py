"""Options that the commands share, and the data directory and the database that they name."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fal_core.cli import complete_host, print_json
from fal_server.errors import ServerError
from fal_server.settings import FILES, LISTENERS, ServerSettings, default_data

if TYPE_CHECKING:
    from fal_server.access.server_keys import ServerKeys
    from fal_server.state.databases import Database

#: Seconds that these commands wait for a locked database.
_PATIENCE = 10.0

#: A host that clients may call, and its port.
_HOST = re.compile(r"[a-z0-9.-]+(:[0-9]+)?", re.IGNORECASE | re.ASCII)

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
lead_option = click.option(
    "--lead-runners/--no-lead-runners",
    default=None,
    help="Lead the hosts that released clients have in their code to this server inside "
    "runners, by a proxy of theirs [default: with --dev].",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, for machines.")


def check_networks(
    _: click.Context, __: click.Parameter, written: tuple[str, ...]
) -> tuple[str, ...]:
    """
    Check the networks of an option.

    Raises:
        BadParameter: One is none.
    """
    from ipaddress import ip_network

    for each in written:
        try:
            whole = ip_network(each, strict=False)
        except ValueError:
            raise click.BadParameter(
                f"{each!r} is not a network. Write one as in '10.0.0.0/8' or 'fd00::/8'."
            ) from None
        address, bits = each.partition("/")[0], whole.max_prefixlen
        if whole.network_address != ip_network(address).network_address:
            raise click.BadParameter(
                f"{each!r} is an address inside a network. Write '{whole}' for the network, "
                f"or '{address}/{bits}' for the address alone."
            )
    return written


def check_memory(
    _: click.Context, __: click.Parameter, written: tuple[str, ...]
) -> tuple[str, ...]:
    """
    Check the memory limits of machine types.

    Raises:
        BadParameter: One is none.
    """
    from fal_server.specs.memory import read_sizes

    try:
        read_sizes(written)
    except ServerError as error:
        raise click.BadParameter(str(error)) from None
    return written


def read_public(
    _: click.Context, __: click.Parameter, written: tuple[str, ...]
) -> dict[str, str]:
    """
    Read the public hosts of listeners.

    Raises:
        BadParameter: One is none, or a second one of the same listener.
    """
    public: dict[str, str] = {}
    for each in written:
        listener, _sign, host = each.partition("=")
        if listener not in (*LISTENERS, FILES) or not _HOST.fullmatch(host):
            raise click.BadParameter(
                f"{each!r} does not name a listener and a host. Write one of "
                f"{', '.join((*LISTENERS, FILES))} and the host, as in 'run=run.example.com'."
            )
        if listener in public:
            raise click.BadParameter(
                f"{each!r} is a second host of the listener {listener!r}, which has "
                f"{public[listener]!r}. Name one."
            )
        public[listener] = host
    return public


def report(sentence: str, *, as_json: bool, **facts: Any) -> None:
    """Report what was done: print *sentence*, or *facts* as JSON."""
    if as_json:
        print_json(facts)
    else:
        click.echo(sentence)


def settings_of(data: Path | None, database: str | None) -> ServerSettings:
    """Return the settings of the server of a data directory."""
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
