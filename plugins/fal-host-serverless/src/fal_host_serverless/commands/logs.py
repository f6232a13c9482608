"""``fal-core logs`` and ``fal-core runners logs``: what applications print."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from fal_core.errors import FalServerlessError
from fal_host_serverless.commands.client_options import (
    Since,
    WholeNumber,
    check_stage,
    client_options,
    complete_app,
    json_option,
    stage_option,
)

if TYPE_CHECKING:
    from fal_host_serverless.account.log_queries import Line
    from fal_host_serverless.client import SyncServerlessClient

#: How many lines are shown where no time is given.
_TAIL = 1000

_LEVELS = ("trace", "debug", "info", "warning", "error")

_COLOURS = {"ERROR": "red", "WARNING": "yellow", "DEBUG": "bright_black"}


def _log_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give *command* the options that select lines."""
    for option in (
        click.option("--level", type=click.Choice(_LEVELS), help="Leave out what is lower."),
        click.option("--search", metavar="TEXT", help="Only lines with this, in any case."),
        click.option(
            "--tail",
            type=WholeNumber(),
            help=f"The newest so many; without '--since' {_TAIL}.",
        ),
        click.option("--until", type=Since(), help="Lines up to this time."),
        click.option("--since", type=Since(), help="Lines from this time on, as in 10m."),
        click.option("--request", "request_id", metavar="ID", help="Lines of this request."),
        click.option("-f", "--follow", is_flag=True, help="Go on with the lines that come."),
    ):
        command = option(command)
    return command


@click.command()
@click.argument("app", shell_complete=complete_app)
@click.option("--runner", "runner_id", metavar="ID", help="Lines of this runner.")
@_log_options
@stage_option
@client_options
@json_option
def logs(
    app: str, stage: str | None, client: SyncServerlessClient, as_json: bool, **options: Any
) -> None:
    """
    Print the log of an application: the lines that are kept, the oldest first, and with -f
    those that come.

    \b
    Example:
      fal-core logs reader --since 1h --level warning --search timeout
    """
    options |= {"app_name": app, "environment_name": stage}
    shown = _print_lines(client, as_json=as_json, **options)
    if not (shown or _has_lines(client, app, stage)):
        check_stage(client, stage)
        _check_app(client, app, stage)


@click.command("logs")
@click.argument("runner_id")
@_log_options
@client_options
@json_option
def runner_logs(client: SyncServerlessClient, as_json: bool, **options: Any) -> None:
    """
    Print the log of a runner: the lines that are kept, the oldest first, and with -f those
    that come.

    \b
    Example:
      fal-core runners logs 8f6c2d3e -f
    """
    _print_lines(client, as_json=as_json, **options)


def _has_lines(client: SyncServerlessClient, app: str, stage: str | None) -> bool:
    """
    Return whether any line of an application is kept. That takes less than to ask for the
    application itself, over another protocol.
    """
    from fal_host_serverless.account.log_queries import LogQuery

    query = LogQuery(app_name=app, environment_name=stage, tail=1)
    return bool(query.read(client.find_service()))


def _check_app(client: SyncServerlessClient, app: str, stage: str | None) -> None:
    """Check that there is an application whose log is empty, which may be mistyped."""
    from fal_host_serverless.account.addresses import find_stage
    from fal_host_serverless.wire.requests import full_name

    try:
        known = [each.alias for each in client.apps.list(environment_name=stage)]
    except FalServerlessError:
        # A key may read logs alone.
        return
    if full_name(app, find_stage(stage)) not in known:
        raise click.ClickException(
            f"There is no application {app!r}, and no line of one. 'fal-core apps list' shows "
            "those there are."
        )


def _print_lines(
    client: SyncServerlessClient, *, follow: bool, as_json: bool, **options: Any
) -> bool:
    """Print lines, and return whether there were any."""
    from fal_host_serverless.account.log_queries import LogQuery

    if follow and options["until"] is not None:
        raise click.UsageError("'--until' is a time in the past, and '--follow' has no end.")
    if options["tail"] is None and options["since"] is None:
        options["tail"] = _TAIL
    query, service = LogQuery(**options), client.find_service()
    show = _print_json if as_json else _print_line
    kept = query.read(service) if query.tail != 0 else []
    for line in kept:
        show(line)
    if follow:
        for line in query.follow(service, kept[-1] if kept else None):
            show(line)
            sys.stdout.flush()
    return bool(kept)


def _print_json(line: Line) -> None:
    click.echo(json.dumps(line, ensure_ascii=False))


def _print_line(line: Line) -> None:
    """Print a line after its time, with the beginnings of the ids of its runner and its request."""
    shows_colours = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    # Python 3.10 reads no "Z".
    text = str(line["timestamp"]).replace("Z", "+00:00")
    moment = datetime.fromisoformat(text).astimezone()
    level, message = str(line["level"]), str(line["message"]).rstrip("\n")
    ids = " ".join(str(line.get(name) or "-")[:8] for name in ("job_id", "request_id"))
    head = f"{moment:%Y-%m-%d %H:%M:%S}.{moment.microsecond // 1000:03} {ids} {level:<7}"
    if shows_colours:
        head = click.style(head, dim=True)
        colour = _COLOURS.get(level)
        message = click.style(message, fg=colour) if colour else message
    click.echo(f"{head} {message}")
