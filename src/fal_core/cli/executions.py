"""``fal-core executions``: detached work, which outlives the process that launched it."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

import attrs
import click

from fal_core.cli.outputs import (
    ResultPrinter,
    exit_of_function,
    print_json,
)
from fal_core.cli.shells.candidates import complete_host
from fal_core.cli.tables import print_table
from fal_core.sinks.printing import node_prefix

if TYPE_CHECKING:
    from fal_core.abilities import ExecutionStatus
    from fal_core.spawns import SpawnInfo

_host = click.option(
    "--on",
    "host",
    default="local",
    show_default=True,
    metavar="HOST",
    shell_complete=complete_host,
    help="The host that has it: a name or a URL.",
)
_json = click.option("--json", "as_json", is_flag=True, help="Print JSON, for machines.")


@click.group()
def executions() -> None:
    """
    Look after detached work.

    A function is detached by 'fal-core run --detach'.
    """


@executions.command("list")
@_host
@click.option("--all", "is_all", is_flag=True, help="List the work of programs too.")
@_json
def list_(host: str, is_all: bool, as_json: bool) -> None:
    """
    List your detached work on a host, the oldest first.

    The work of programs, such as the runners of a server, is listed by --all.

    \b
    Example:
      fal-core executions list --on local
    """
    from fal_core.abilities import DetachingHost
    from fal_core.plugins.installed import find_host

    place = find_host(host)
    detaching = place.ability(DetachingHost)
    found = sorted(
        () if detaching is None else detaching.executions(),
        key=lambda status: status.started,
    )
    shown = [status for status in found if is_all or not status.owner]
    if as_json:
        print_json([attrs.asdict(status) for status in shown])
        return
    if shown:
        _print_statuses(shown, with_owners=is_all)
    elif detaching is not None:
        click.echo(f"Host {host!r} has no detached work.")
    else:
        click.echo(f"Host {host!r} detaches no work: it ends with the program that runs it.")
    # Work that has ended needs nobody's attention.
    hidden = () if is_all else found
    others = Counter(each.owner for each in hidden if each.owner and not each.ended)
    for owner, count in sorted(others.items()):
        click.echo(f"{owner} has {count} more; --all lists them.", err=True)


@executions.command()
@click.argument("reference")
@_host
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="Print the result as JSON, and nothing else on the standard output.",
)
def attach(reference: str, host: str, as_json: bool) -> None:
    """
    Follow detached work: its lines, and in the end its result.

    Ctrl-C leaves the work as it is.

    \b
    Example:
      fal-core executions attach d4f1c09a71e2-1
    """
    from fal_core.calling.attaching import attach as follow

    info = follow(host, reference)
    stream = sys.stderr if as_json else sys.stdout
    try:
        _print_lines(info, stream)
        ResultPrinter(sys.stdout, as_json=as_json)(info.return_value)
    except Exception as error:
        leaving = exit_of_function(error)
        if leaving is None:
            raise
        raise leaving from error


@executions.command()
@click.argument("reference")
@_host
@click.option(
    "--grace",
    type=click.FloatRange(min=0),
    default=2.0,
    show_default=True,
    help="Seconds it has to end of its own accord.",
)
@_json
def cancel(reference: str, host: str, grace: float, as_json: bool) -> None:
    """
    End detached work, and wait until it has ended.

    \b
    Example:
      fal-core executions cancel d4f1c09a71e2-1 --grace 10
    """
    from threading import Event

    from fal_core.abilities import detaching
    from fal_core.events import Exited
    from fal_core.plugins.installed import find_host
    from fal_core.sinks.requests import request

    ended = Event()
    execution = detaching(find_host(host)).attach(
        reference, lambda event: ended.set() if isinstance(event, Exited) else None
    )
    request(host, execution.cancel, grace)
    if not ended.wait(grace + 10):
        raise click.ClickException(f"{reference} has not ended within {grace + 10:g} s.")
    if as_json:
        print_json({"ended": reference})
    else:
        click.echo(f"{reference} has ended.")


def _print_statuses(statuses: Iterable[ExecutionStatus], *, with_owners: bool) -> None:
    """Print a table of detached work."""
    rows = [
        (
            status.reference,
            status.name,
            _state(status),
            time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(status.started)),
            *((status.owner or "you",) if with_owners else ()),
        )
        for status in statuses
    ]
    owners = ("OWNER",) if with_owners else ()
    print_table(("REFERENCE", "FUNCTION", "STATE", "STARTED", *owners), rows)


def _state(status: ExecutionStatus) -> str:
    """Return the phase of detached work, or how it has ended."""
    # Only the class of the error; the JSON has its sentence, and attaching raises it.
    kind = status.error.partition(":")[0]
    return (status.end or status.phase) + (f" ({kind})" if kind else "")


def _print_lines(info: SpawnInfo, stream: Any) -> None:
    """Print the lines of detached work as they come, until it has ended."""
    assert info.future is not None
    end = object()

    def finish(_: Future[Any]) -> None:
        info.logs.put(end)

    info.future.add_done_callback(finish)
    while (log := info.logs.get()) is not end:
        plain = log.level == "STDOUT"
        print(
            f"{node_prefix(log)}{log.message}", file=stream if plain else sys.stderr, flush=True
        )
