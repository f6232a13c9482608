"""``fal-core runners``: runners of applications."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

import click

from fal_host_serverless.commands.client_options import Since, client_options, json_option
from fal_host_serverless.commands.logs import runner_logs
from fal_host_serverless.commands.output import print_values, report

if TYPE_CHECKING:
    from fal_host_serverless.client import SyncServerlessClient
    from fal_host_serverless.values import RunnerInfo


@click.group()
def runners() -> None:
    """List runners and end them."""


@runners.command("list")
@click.option("--since", type=Since(), help="Include runners that have ended after this time.")
@client_options
@json_option
def list_(since: datetime | None, client: SyncServerlessClient, as_json: bool) -> None:
    """
    List the runners of all applications.

    \b
    Example:
      fal-core runners list
    """
    print_runners(client.runners.list(since=since), as_json=as_json)


@runners.command()
@click.argument("runner_id")
@click.option("--replace", is_flag=True, help="Start another runner before.")
@client_options
@json_option
def stop(runner_id: str, replace: bool, client: SyncServerlessClient, as_json: bool) -> None:
    """
    Stop a runner once it has finished its requests.

    \b
    Example:
      fal-core runners stop 8f6c2d3e --replace
    """
    client.runners.stop(runner_id, replace)
    report(
        f"Runner {runner_id} finishes its requests and stops.",
        as_json=as_json,
        stopping=runner_id,
        replaced=replace,
    )


@runners.command()
@click.argument("runner_id")
@client_options
@json_option
def kill(runner_id: str, client: SyncServerlessClient, as_json: bool) -> None:
    """
    End a runner at once.

    \b
    Example:
      fal-core runners kill 8f6c2d3e
    """
    client.runners.kill(runner_id)
    report(f"Runner {runner_id} is killed.", as_json=as_json, killed=runner_id)


def print_runners(found: Sequence[RunnerInfo], *, as_json: bool) -> None:
    """Print runners."""
    print_values(
        found,
        (
            *("RUNNER", "APPLICATION", "STATE", "REQUESTS", "UPTIME", "EXPIRES IN", "MACHINE"),
            "WAITS FOR",
        ),
        lambda runner: (
            *(runner.runner_id, runner.alias, runner.state.value.lower()),
            *(runner.in_flight_requests, runner.uptime, runner.expiration_countdown),
            runner.machine_type,
            # A server of one's own says it.
            runner.external_metadata.get("waits_for", ""),
        ),
        as_json=as_json,
        none="There is no runner.",
    )


runners.add_command(runner_logs)
