"""
``fal-core apps``: what is deployed.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from fal_core.cli.outputs import print_json
from fal_host_serverless.commands.options import (
    Since,
    WholeNumber,
    client_options,
    environment_option,
    json_option,
    show,
    tell,
    to_plain,
)
from fal_host_serverless.commands.runners import tell_runners

if TYPE_CHECKING:
    from fal_host_serverless.client import SyncServerlessClient

#: What ``scale`` changes, by its option.
_SCALES = (
    *("keep-alive", "max-multiplexing", "max-concurrency", "min-concurrency"),
    *("concurrency-buffer", "concurrency-buffer-perc", "scaling-delay", "request-timeout"),
    *("request-start-timeout", "startup-timeout"),
)


@click.group()
def apps() -> None:
    """
    Look at applications of the service, and change them.
    """


@apps.command("list")
@click.option("--filter", metavar="TEXT", help="Only those whose name has this in it.")
@environment_option
@client_options
@json_option
def list_(
    filter: str | None,
    environment_name: str | None,
    client: SyncServerlessClient,
    as_json: bool,
) -> None:
    """
    List the applications.
    """
    found = client.apps.list(filter=filter, environment_name=environment_name)
    show(
        found,
        ("NAME", "AUTH", "RUNNERS", "MIN", "MAX", "KEEP ALIVE", "MACHINES", "REVISION"),
        lambda app: (
            *(app.alias, app.auth_mode, app.active_runners, app.min_concurrency),
            *(app.max_concurrency, app.keep_alive, app.machine_types, app.revision),
        ),
        as_json=as_json,
        none="No application is deployed.",
    )


@apps.command()
@click.argument("name")
@click.option("--force", is_flag=True, help="End the old ones at once.")
@environment_option
@client_options
@json_option
def rollout(
    name: str,
    force: bool,
    environment_name: str | None,
    client: SyncServerlessClient,
    as_json: bool,
) -> None:
    """
    Replace the runners of an application by new ones.
    """
    client.apps.rollout(name, force=force, environment_name=environment_name)
    tell(f"The runners of {name} are being replaced.", as_json=as_json, app=name, force=force)


@apps.command()
@click.argument("name")
@click.option("--since", type=Since(), help="Also those that have ended after this time.")
@click.option("--state", multiple=True, help="Only those in this state; it may be repeated.")
@environment_option
@client_options
@json_option
def runners(
    name: str,
    since: datetime | None,
    state: tuple[str, ...],
    environment_name: str | None,
    client: SyncServerlessClient,
    as_json: bool,
) -> None:
    """
    List the runners of an application.
    """
    found = client.apps.runners(
        name, since=since, state=state or None, environment_name=environment_name
    )
    tell_runners(found, as_json=as_json)


@apps.command()
@click.argument("name")
@click.option("--machine-types", multiple=True, help="A machine type; it may be repeated.")
@click.option("--regions", multiple=True, help="A region; it may be repeated.")
@environment_option
@client_options
@json_option
def scale(
    name: str,
    machine_types: tuple[str, ...],
    regions: tuple[str, ...],
    environment_name: str | None,
    client: SyncServerlessClient,
    as_json: bool,
    **changes: Any,
) -> None:
    """
    Change how an application scales; what is not named stays as it is.
    """
    if not (machine_types or regions or any(value is not None for value in changes.values())):
        options = ", ".join(f"--{name}" for name in (*_SCALES, "machine-types", "regions"))
        raise click.UsageError(f"Nothing is to be changed. Give one or more of {options}.")
    result = client.apps.scale(
        name,
        machine_types=list(machine_types) or None,
        regions=list(regions) or None,
        environment_name=environment_name,
        **changes,
    )
    if as_json:
        print_json(to_plain(result))
    else:
        click.echo(
            f"{result.alias} scales from {result.min_concurrency} "
            f"to {result.max_concurrency} runners."
        )


for _name in _SCALES:
    _unit = "" if "concurrency" in _name or "multi" in _name else " In seconds."
    scale = click.option(
        f"--{_name}", type=WholeNumber(), help=f"The option of that name.{_unit}"
    )(scale)
