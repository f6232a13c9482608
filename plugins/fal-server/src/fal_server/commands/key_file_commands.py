"""
``fal-core server replace-key``: make another key in place of one that is lost.
"""

from __future__ import annotations

from pathlib import Path

import click

from fal_server.commands.options import (
    data_option,
    database_option,
    json_option,
    opened_state,
    report,
    settings_of,
)


@click.command("replace-key", short_help="Make another key in place of a lost one.")
@click.argument("name", type=click.Choice(["secrets.key", "signing.key", "webhooks.key"]))
@json_option
@data_option
@database_option
def replace_key(name: str, as_json: bool, data: Path | None, database: str | None) -> None:
    """
    Make another key in place of one that is lost, and give up what the old one protects.

    With secrets.key the secrets of all accounts are removed, with signing.key tokens and
    logins end, and with webhooks.key the secrets that sign webhooks change. No server may
    run on the directory.

    \b
    Example:
      fal-core server replace-key signing.key
    """
    from fal_server.access.key_files import KEY_FILES
    from fal_server.access.key_files import replace_key as replace
    from fal_server.state.data_directories import DataDirectory
    from fal_server.store.vaults import remove_all_secrets

    directory = DataDirectory(settings_of(data, database).data)
    count = 0
    with opened_state(data, database) as state, directory.locked():
        if name == "secrets.key":
            count = state.write_here(remove_all_secrets)
            secrets = "1 secret was" if count == 1 else f"{count} secrets were"
            if not as_json:
                click.echo(f"{secrets} removed, as nobody can decrypt them.")
        replace(directory, name)
    told = f"{directory.path / name} is new: {KEY_FILES[name]}."
    report(told, as_json=as_json, replaced=name, secrets_removed=count)
