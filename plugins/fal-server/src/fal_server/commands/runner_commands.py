"""The runners that a server has left running: which they are, and how they are ended."""

from __future__ import annotations

import contextlib
import shlex
import threading
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fal_core.abilities import DetachingHost, detaching
from fal_core.errors import HostError
from fal_core.events import Event, Exited
from fal_core.hosts import Host
from fal_server.commands.options import (
    data_option,
    database_option,
    json_option,
    machines_option,
    opened_state,
    report,
    settings_of,
)

if TYPE_CHECKING:
    from fal_server.settings import ServerSettings
    from fal_server.state.data_directories import DataDirectory

#: Seconds that a runner may take to end.
_PATIENCE = 30.0


@click.command("end-runners")
@data_option
@database_option
@machines_option
@json_option
def end_runners(
    data: Path | None, database: str | None, machines: tuple[str, ...], as_json: bool
) -> None:
    """
    End the runners that a server has left running.

    Runners outlive their server, and the next server takes them over. Use this if there
    will be no next server. No server may run on the directory. The runners of this machine
    are found with the variable FAL_CORE_CACHE that their server had.

    \b
    Example:
      fal-core server end-runners
    """
    from fal_server.claims.replicas import name_machine, read_others
    from fal_server.state.data_directories import DataDirectory
    from fal_server.store.runner_records import end_all, read_elsewhere, read_references

    with opened_state(data, database) as state:
        directory = DataDirectory(settings_of(data, database).data)
        others = read_others(state)
        if others:
            where = ", ".join(each.origin("api") for each in others)
            raise click.ClickException(
                f"The runners belong to servers that run at {where}. End them first, and then "
                "their runners."
            )
        with _alone_on(directory):
            references = state.read_here(read_references)
            with _opened(machines) as hosts:
                _end(hosts, references, as_json=as_json)
            machine = name_machine()
            state.write_here(lambda it: end_all(it, machine, machines))
            left = state.read_here(lambda it: read_elsewhere(it, machine))
            if left:
                raise click.ClickException(
                    f"{_describe(left)} under another cache directory, or on another machine, "
                    "and may go on. Repeat the command there, with the FAL_CORE_CACHE that "
                    "the server had."
                )
            directory.drop_sockets()


def _describe(aliases: Sequence[str]) -> str:
    """Return how many runners were started, and of which applications."""
    counts = Counter(aliases)
    names = ", ".join(name if of == 1 else f"{name} ({of})" for name, of in counts.items())
    were = "1 runner was" if len(aliases) == 1 else f"{len(aliases)} runners were"
    return f"{were} started ({names})"


def settle_runners(settings: ServerSettings, *, are_ended: bool) -> None:
    """
    End the runners that an ended server has left running, or print which they are and how
    they are ended.

    Arguments:
        settings: Those of the server, whose data directory is still locked.
    """
    from fal_server.claims.replicas import name_machine, read_others
    from fal_server.errors import Refusal, ServerError
    from fal_server.store.runner_records import end_all, read_unfinished

    try:
        with opened_state(settings.data, settings.database) as state:
            aliases = state.read_here(read_unfinished)
            others = read_others(state)
    except (Refusal, ServerError) as error:
        raise ServerError(f"It is not known which runners go on: {error}") from error
    if others:
        click.echo("# Other servers on the same database go on with the runners.")
        return
    if not aliases:
        # A host of other machines takes a while to be reached.
        if are_ended:
            _end((), aliases, mark="# ")
        return
    with _opened(settings.machines) as hosts:
        if are_ended:
            _end(hosts, aliases, mark="# ")
            with opened_state(settings.data, settings.database) as state:
                state.write_here(lambda it: end_all(it, name_machine(), settings.machines))
            return
        left = Counter(aliases[each] for host in hosts for each in _running(host, aliases))
    if left:
        count = left.total()
        names = (name if number == 1 else f"{name} ({number})" for name, number in left.items())
        click.echo(
            f"# {'1 runner goes' if count == 1 else f'{count} runners go'} on, for the next "
            f"server on {settings.data}: {', '.join(names)}."
        )
        click.echo(f"# End them with: {_command_to_end(settings)}")


def _command_to_end(settings: ServerSettings) -> str:
    """Return the command that ends the runners of a server, without a password."""
    words = ["fal-core", "server", "end-runners", "--data", str(settings.data)]
    if settings.machines != ("local",):
        words += [word for name in settings.machines for word in ("--machine", name)]
    if settings.database is not None:
        words += ["--database", "URL"]
    return shlex.join(words)


@contextlib.contextmanager
def _opened(machines: Sequence[str]) -> Iterator[Sequence[Host[..., Any]]]:
    """Open the hosts of these names for as long as the context lasts."""
    from fal_core.plugins import make_host

    with contextlib.ExitStack() as stack:
        hosts = [make_host(each) for each in machines]
        for host in hosts:
            stack.callback(host.close)
        yield hosts


def _end(
    hosts: Sequence[Host[..., Any]],
    references: Collection[str],
    *,
    mark: str = "",
    as_json: bool = False,
) -> None:
    """
    End runners, and print how many have ended.

    Arguments:
        mark: What the line begins with, as where those around it are comments of a shell.
    """
    ended = [end_executions(host, references) for host in hosts]
    count, left = sum(each for each, _ in ended), [name for _, names in ended for name in names]
    told = "1 runner has ended." if count == 1 else f"{count} runners have ended."
    report(mark + told, as_json=as_json, ended=count, left=left)
    if left:
        raise click.ClickException(
            f"{len(left)} have not ended within {_PATIENCE:g} s: {', '.join(left)}. Try again, "
            "or look for the cause with 'fal-core executions list --all'."
        )


@contextlib.contextmanager
def _alone_on(directory: DataDirectory) -> Iterator[None]:
    """Lock *directory*, or explain that its runners belong to the server that has locked it."""
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
    for reference in _running(host, references):
        end = ends[reference] = threading.Event()

        def take(event: Event, end: threading.Event = end) -> None:
            if isinstance(event, Exited):
                end.set()

        try:
            detaching(host).attach(reference, take).cancel(0)
        except HostError:
            # It has ended meanwhile.
            end.set()
    left = tuple(name for name, end in ends.items() if not end.wait(_PATIENCE))
    return len(ends) - len(left), left


def _running(host: Host[..., Any], references: Collection[str]) -> Sequence[str]:
    """Return those of *references* whose executions run on *host*, the oldest first."""
    detaching = host.ability(DetachingHost)
    if detaching is None:
        return ()
    return [
        each.reference
        for each in detaching.executions()
        if not each.ended and each.reference in references
    ]
