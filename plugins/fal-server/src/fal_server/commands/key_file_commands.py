"""``fal-core server replace-key``: make another key in place of one that is lost."""

from __future__ import annotations

from pathlib import Path

import click

from fal_server.commands.options import (
    data_option,
    database_option,
    json_option,
    opened_keys,
    report,
    secrets_option,
)


@click.command("replace-key", short_help="Make another key in place of a lost one.")
@click.argument("name", type=click.Choice(["secrets.key", "signing.key", "webhooks.key"]))
@json_option
@data_option
@database_option
@secrets_option
def replace_key(
    name: str,
    as_json: bool,
    data: Path | None,
    database: str | None,
    secrets_key: Path | None,
) -> None:
    """
    Make another key in place of one that is lost, and give up what the old one protects.

    With secrets.key the secrets of all accounts are removed, with signing.key tokens and
    logins end, and with webhooks.key the keys that sign webhooks change. No server may run on
    the directory. Where the keys are in a database that servers share, end all of them
    before, and start them again afterwards.

    \b
    Example:
      fal-core server replace-key signing.key
    """
    from fal_server.access.key_files import KEY_FILES, SECRETS
    from fal_server.store.vaults import remove_all_secrets

    count = 0
    with opened_keys(data, database, secrets_key) as keys, keys.locked():
        if name == SECRETS:
            count = keys.database.write_here(remove_all_secrets)
            secrets = "1 secret was" if count == 1 else f"{count} secrets were"
            if not as_json:
                click.echo(f"{secrets} removed, as nobody can decrypt them.")
        keys.replace(name)
        told = f"{keys.describe(name)} is new: {KEY_FILES[name]}."
    report(told, as_json=as_json, replaced=name, secrets_removed=count)
