"""
``fal-core server open``: the dashboard in a browser, signed in.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from fal_core.cli import print_json
from fal_server.commands.account_commands import named_account, refused
from fal_server.commands.options import (
    data_option,
    database_option,
    json_option,
    opened_state,
    settings_of,
)

if TYPE_CHECKING:
    import sqlalchemy as sa

    from fal_server.state.data_directories import DataDirectory

#: Addresses of this machine, at which nobody else listens.
_HERE = frozenset({"0.0.0.0", "::", "", "127.0.0.1", "::1", "localhost"})


@click.command("open", short_help="Open the dashboard in a browser.")
@click.argument("nickname", required=False)
@click.option(
    "--url",
    help="The URL of the API, where browsers reach it at another one than this machine.",
)
@click.option(
    "--browser/--no-browser", default=True, help="Open a browser, or print the link alone."
)
@json_option
@data_option
@database_option
def open_dashboard(
    nickname: str | None,
    url: str | None,
    browser: bool,
    as_json: bool,
    data: Path | None,
    database: str | None,
) -> None:
    """
    Open the dashboard of a server that runs, as the account NICKNAME or its owner.

    The link signs in once, within five minutes, and the session ends after twelve hours. It
    is a key of the account, and can be revoked like any other.

    \b
    Example:
      fal-core server open
    """
    from fal_server.access.permissions import PRESETS
    from fal_server.access.sign_ins import make_link
    from fal_server.state.data_directories import DataDirectory
    from fal_server.store.keys import find_key

    directory = DataDirectory(settings_of(data, database).data)
    if database is None:
        # One of several servers has its state there.
        database = directory.read_database()

    def make(connection: sa.Connection) -> str:
        if nickname is not None:
            account_id = named_account(connection, nickname).id
        else:
            key = find_key(connection, directory.read_key().partition(":")[0])
            if key is None:
                raise click.UsageError(
                    "The key of the owner is not in the directory: name an account, as in "
                    "'fal-core server open owner'."
                )
            account_id = key.account_id
        return make_link(connection, account_id, PRESETS["FULL"])

    with opened_state(data, database) as state:
        base = url.rstrip("/") if url else _find_base(directory)
        code = refused(lambda: state.write_here(make))
    link = f"{base}/#code={code}"
    if as_json:
        print_json({"url": link})
        return
    click.echo(link)
    if browser:
        click.launch(link)


def _find_base(directory: DataDirectory) -> str:
    host, ports = directory.read_addresses()
    is_here = host in _HERE
    name = "127.0.0.1" if is_here else f"[{host}]" if ":" in host else host
    return f"{'http' if is_here else 'https'}://{name}:{ports['api']}"
