"""
``fal-core server end-runners``: end the runners that a server has left running.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fal_core.abilities import DetachingHost
from fal_core.errors import HostError
from fal_core.events import Event, Exited
from fal_core.hosts import Host
from fal_server.commands.options import data_option, database_option, opened_state, settings_of

if TYPE_CHECKING:
    from fal_server.state.data_directories import DataDirectory

#: Seconds that a runner may take to end.
_PATIENCE = 30.0


@click.command("end-runners")
@data_option
@database_option
@click.option("--machine", default="local", show_default=True, help="The host of the runners.")
def end_runners(data: Path | None, database: str | None, machine: str) -> None:
    """
    End the runners that a server has left running.

    Runners outlive their server, and the next server takes them over. Use this if there
    will be no next server. No server may run on the directory.
    """
    from fal_core.plugins import make_host
    from fal_server.state.data_directories import DataDirectory
    from fal_server.store.runner_records import read_references

    with opened_state(data, database) as state:
        directory = DataDirectory(settings_of(data, database).data)
        with _alone_on(directory):
            directory.remove_left_sockets()
            references = state.read_here(read_references)
            host = make_host(machine)
            try:
                count, left = end_executions(host, references)
            finally:
                host.close()
    click.echo("1 runner has ended." if count == 1 else f"{count} runners have ended.")
    if left:
        raise click.ClickException(
            f"{len(left)} have not ended within {_PATIENCE:g} s: {', '.join(left)}. Try again, "
            "or look for the cause with 'fal-core executions list'."
        )


@contextlib.contextmanager
def _alone_on(directory: DataDirectory) -> Iterator[None]:
    """
    Lock *directory*, or explain that its runners belong to the server that has locked it.
    """
    from fal_server.errors import DataInUse, ServerError

    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(directory.locked())
        except DataInUse as error:
            raise ServerError(
                f"The runners belong to a server that runs on {error.directory} "
                f"({error.who}). End it first, and then its runners."
            ) from None
        yield


def end_executions(
    host: Host[..., Any], references: Collection[str]
) -> tuple[int, tuple[str, ...]]:
    """
    End the detached executions with these *references* on *host*.

    Return how many have ended, and the references of those that have not ended in time.
    """
    ends: dict[str, threading.Event] = {}
    if not isinstance(host, DetachingHost):
        return 0, ()
    for status in host.executions():
        if status.ended or status.reference not in references:
            continue
        end = ends[status.reference] = threading.Event()

        def take(event: Event, end: threading.Event = end) -> None:
            if isinstance(event, Exited):
                end.set()

        try:
            host.attach(status.reference, take).cancel(0)
        except HostError:
            # It has ended meanwhile.
            end.set()
    left = tuple(name for name, end in ends.items() if not end.wait(_PATIENCE))
    return len(ends) - len(left), left
