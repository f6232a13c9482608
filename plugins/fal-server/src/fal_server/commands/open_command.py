"""``fal-core server open``: the dashboard in a browser, signed in."""

from __future__ import annotations

import json
import os
import urllib.error
import urllib.request
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

#: Seconds that a server may take to make a link, and the bytes of its answer.
_PATIENCE, _LONGEST = 30.0, 1 << 16

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
    is a key of the account, and can be revoked like any other. Where the variables of 'server
    env' name a server and a key, it is a link to that server which may do what the key may.

    \b
    Example:
      fal-core server open
    """
    if data is None and database is None and nickname is None:
        told = _ask_for_link(url)
        if told:
            _show(told, browser=browser, as_json=as_json)
            return
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
    _show(f"{base}/#code={code}", browser=browser, as_json=as_json)


def _show(link: str, *, browser: bool, as_json: bool) -> None:
    if as_json:
        print_json({"url": link})
        return
    click.echo(link)
    if browser:
        click.launch(link)


def _ask_for_link(url: str | None) -> str:
    """
    Return a link from the server and for the key that the variables of this process name.
    Empty where they name none.

    Raises:
        click.ClickException: The server cannot be reached, or refuses the key.
    """
    host, key = os.environ.get("FAL_REST_HOST"), os.environ.get("FAL_KEY")
    if not host or not key:
        return ""
    scheme = "http" if os.environ.get("ISOLATE_TEST_MODE") else "https"
    base = (url or f"{scheme}://{host}").rstrip("/")
    asked = urllib.request.Request(
        f"{base}/dashboard/links", method="POST", headers={"Authorization": f"Key {key}"}
    )
    try:
        with urllib.request.urlopen(asked, timeout=_PATIENCE) as answer:
            code = str(json.loads(answer.read(_LONGEST))["code"])
    except urllib.error.HTTPError as error:
        with error:
            said = error.read(_LONGEST).decode(errors="replace")
        raise click.ClickException(
            f"The server at {base}, which FAL_REST_HOST names, refuses FAL_KEY: {error}: {said}"
        ) from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise click.ClickException(
            f"The server at {base}, which FAL_REST_HOST names, gives no link: {error}. For the "
            "server of a directory, use '--data'."
        ) from error
    return f"{base}/#code={code}"


def _find_base(directory: DataDirectory) -> str:
    host, ports = directory.read_addresses()
    is_here = host in _HERE
    name = "127.0.0.1" if is_here else f"[{host}]" if ":" in host else host
    return f"{'http' if is_here else 'https'}://{name}:{ports['api']}"
