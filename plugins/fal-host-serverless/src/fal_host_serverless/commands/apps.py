"""``fal-core apps``: deployed applications."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from fal_core.cli import print_json
from fal_host_serverless.commands import revisions
from fal_host_serverless.commands.client_options import (
    Since,
    WholeNumber,
    check_stage,
    client_options,
    complete_app,
    json_option,
    stage_option,
)
from fal_host_serverless.commands.output import print_values, report, to_plain
from fal_host_serverless.commands.runners import print_runners

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fal_host_serverless.client import SyncServerlessClient
    from fal_host_serverless.values import AliasInfo

#: The options of ``scale`` that are numbers.
_SCALES = (
    *("keep-alive", "max-multiplexing", "max-concurrency", "min-concurrency"),
    *("concurrency-buffer", "concurrency-buffer-perc", "scaling-delay", "request-timeout"),
    *("request-start-timeout", "startup-timeout"),
)


@click.group()
def apps() -> None:
    """List applications and change them."""


@apps.command("list")
@click.option("--filter", metavar="TEXT", help="Only those whose name contains this.")
@stage_option
@client_options
@json_option
def list_(
    filter: str | None,
    stage: str | None,
    client: SyncServerlessClient,
    as_json: bool,
) -> None:
    """
    List the applications.

    \b
    Example:
      fal-core apps list --stage dev
    """
    from fal_host_serverless.account.revisions import read_failures

    found = client.apps.list(filter=filter, environment_name=stage)
    if not found:
        check_stage(client, stage)
    failures: Mapping[str, datetime] = {}
    if not all(app.active_runners for app in found):
        failures = read_failures(client.find_service())
    if as_json:
        print_json(
            [
                {**to_plain(app), "failed_since": since and since.isoformat()}
                for app in found
                for since in (failures.get(app.alias),)
            ]
        )
        return

    def runners_of(app: AliasInfo) -> object:
        if since := failures.get(app.alias):
            return f"failed since {since.astimezone():%Y-%m-%d %H:%M}"
        return app.active_runners

    print_values(
        found,
        ("NAME", "AUTH", "RUNNERS", "MIN", "MAX", "KEEP ALIVE", "MACHINES", "REVISION"),
        lambda app: (
            *(app.alias, app.auth_mode, runners_of(app), app.min_concurrency),
            *(app.max_concurrency, app.keep_alive, app.machine_types, app.revision),
        ),
        as_json=False,
        none="No application is deployed.",
    )


@apps.command()
@click.argument("name", shell_complete=complete_app)
@click.option("--force", is_flag=True, help="End the old runners at once.")
@stage_option
@client_options
@json_option
def rollout(
    name: str,
    force: bool,
    stage: str | None,
    client: SyncServerlessClient,
    as_json: bool,
) -> None:
    """
    Replace the runners of an application by new ones.

    \b
    Example:
      fal-core apps rollout reader
    """
    client.apps.rollout(name, force=force, environment_name=stage)
    report(f"The runners of {name} are being replaced.", as_json=as_json, app=name, force=force)


@apps.command()
@click.argument("name", shell_complete=complete_app)
@click.option("--since", type=Since(), help="Include runners that have ended after this time.")
@click.option("--state", multiple=True, help="Only those in this state; may be repeated.")
@stage_option
@client_options
@json_option
def runners(
    name: str,
    since: datetime | None,
    state: tuple[str, ...],
    stage: str | None,
    client: SyncServerlessClient,
    as_json: bool,
) -> None:
    """
    List the runners of an application.

    \b
    Example:
      fal-core apps runners reader --since 1h
    """
    found = client.apps.runners(name, since=since, state=state or None, environment_name=stage)
    if not found:
        check_stage(client, stage)
    print_runners(found, as_json=as_json)


@apps.command(short_help="Change how an application scales.")
@click.argument("name", shell_complete=complete_app)
@click.option("--machine-types", multiple=True, help="A machine type; may be repeated.")
@click.option("--regions", multiple=True, help="A region; may be repeated.")
@stage_option
@client_options
@json_option
def scale(
    name: str,
    machine_types: tuple[str, ...],
    regions: tuple[str, ...],
    stage: str | None,
    client: SyncServerlessClient,
    as_json: bool,
    **changes: Any,
) -> None:
    """
    Change how an application scales; settings that are not named stay as they are.

    \b
    Example:
      fal-core apps scale reader --min-concurrency 1
    """
    if not (machine_types or regions or any(value is not None for value in changes.values())):
        options = ", ".join(f"--{name}" for name in (*_SCALES, "machine-types", "regions"))
        raise click.UsageError(f"Nothing to change. Give one or more of {options}.")
    result = client.apps.scale(
        name,
        machine_types=list(machine_types) or None,
        regions=list(regions) or None,
        environment_name=stage,
        **changes,
    )
    if as_json:
        print_json(to_plain(result))
    else:
        most = result.max_concurrency or "any number of"
        click.echo(f"{result.alias} scales from {result.min_concurrency} to {most} runners.")


for _name in _SCALES:
    _unit = "" if "concurrency" in _name or "multi" in _name else " In seconds."
    scale = click.option(
        f"--{_name}", type=WholeNumber(), help=f"The option of that name.{_unit}"
    )(scale)

for _command in (
    *(revisions.delete, revisions.list_revisions, revisions.history, revisions.rollback),
):
    apps.add_command(_command)
