"""``fal-core server``: start a control plane, and print how to reach it."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import shlex
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import attrs
import click

from fal_core.cli import print_json
from fal_core.workers import raise_open_files
from fal_server.commands.account_commands import login, teams, users
from fal_server.commands.backup_commands import backup, restore
from fal_server.commands.key_commands import keys
from fal_server.commands.key_file_commands import replace_key
from fal_server.commands.open_command import open_dashboard
from fal_server.commands.options import (
    check_memory,
    check_networks,
    data_option,
    database_option,
    files_option,
    json_option,
    lead_option,
    machines_option,
    read_public,
    secrets_option,
)
from fal_server.commands.proxy_command import proxy
from fal_server.commands.replica_commands import replicas
from fal_server.commands.runner_commands import end_runners, settle_runners
from fal_server.limits import Limits, option_of, write_default
from fal_server.settings import DEV_KEY, PORT, ServerSettings, default_data, is_loopback

if TYPE_CHECKING:
    from fal_server.plane import ControlPlane
    from fal_server.telemetry.exports import Exports

_Command = TypeVar("_Command", bound=Callable[..., Any])

#: gRPC takes no larger number, and nothing else needs one.
_LARGEST = 1 << 31


class _Size(click.ParamType):  # type: ignore[type-arg]  # not generic in 8.2
    name = "size"

    def convert(self, value: Any, _: click.Parameter | None, __: click.Context | None) -> int:
        from fal_server.specs.memory import read_size

        size = value if isinstance(value, int) else read_size(value)
        if size is None or size <= 0:
            self.fail(
                f"{value!r} is no size. Write a whole number of bytes, or of K, M or G, as in "
                "512M."
            )
        return size


_TYPES: Mapping[str, click.ParamType[Any]] = {
    "size": _Size(),
    "number": click.IntRange(1),
    "seconds": click.FloatRange(0, min_open=True),
}


class LimitedCommand(click.Command):
    """A command whose help lists the options that set a limit below the others."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options in two sections."""
        limits = {field.name for field in attrs.fields(Limits)}
        sections: dict[str, list[tuple[str, str]]] = {"Options": [], "Limits": []}
        for parameter in self.get_params(ctx):
            row = parameter.get_help_record(ctx)
            if row is not None:
                sections["Limits" if parameter.name in limits else "Options"].append(row)
        for title, rows in sections.items():
            with formatter.section(title):
                formatter.write_dl(rows)


def limit_options(command: _Command) -> _Command:
    """Add an option for each limit to a command."""
    for field in reversed(attrs.fields(Limits)):
        unit = field.metadata["unit"]
        command = click.option(
            option_of(field.name),
            type=_TYPES[unit],
            default=None if field.default is None else write_default(field),
            show_default=write_default(field),
            metavar=unit.upper(),
            callback=_check_message if field.name == "largest_message" else None,
            help=field.metadata["text"],
        )(command)
    return command


def take_limits(options: dict[str, Any]) -> Limits:
    """Take the limits out of the *options* of a command."""
    return Limits(**{field.name: options.pop(field.name) for field in attrs.fields(Limits)})


def _check_message(_: click.Context, __: click.Parameter, size: int) -> int:
    if size >= _LARGEST:
        raise click.BadParameter("A gRPC message is smaller than 2G.")
    return size


#: The most files that a server has open; what it starts has the limit that it was given.
_MOST_FILES = 65_536

#: Seconds that a server has to end, besides those that requests have to finish.
_LONGEST_END = 4.0


@click.group()
def server() -> None:
    """Run a control plane of your own."""


for _command in (
    *(users, teams, keys, login, replace_key),
    *(end_runners, replicas, backup, restore, open_dashboard, proxy),
):
    server.add_command(_command)


@server.command(cls=LimitedCommand)
@data_option
@click.option(
    "--address",
    "host",
    metavar="ADDRESS",
    default="127.0.0.1",
    show_default=True,
    help="The address to listen on.",
)
@click.option(
    "--port",
    type=click.IntRange(0, 65531),
    default=PORT,
    show_default=True,
    help="The port of the API; the gateways have the next ones. 0 takes free ones.",
)
@machines_option
@database_option
@files_option
@secrets_option
@click.option(
    "--advertise",
    metavar="ADDRESS",
    help="The address at which other servers on the same PostgreSQL reach this one [default: "
    "the address to listen on].",
)
@click.option(
    "--name", "names", multiple=True, help="A host name of this machine, for the certificate."
)
@click.option(
    "--webhook-network",
    "webhook_networks",
    multiple=True,
    metavar="NETWORK",
    callback=check_networks,
    help="A private network that webhooks may reach, as in 10.0.0.0/8.",
)
@click.option(
    "--proxy",
    "proxies",
    multiple=True,
    metavar="NETWORK",
    callback=check_networks,
    help="The address or network of a reverse proxy, as in 10.0.0.7.",
)
@click.option(
    "--public",
    multiple=True,
    metavar="LISTENER=HOST",
    callback=read_public,
    help="The host by which clients reach a listener (api, run, queue or ws) through a reverse "
    "proxy, as in run=run.example.com, or that of the URLs of files (files).",
)
@click.option(
    "--memory",
    multiple=True,
    metavar="TYPE=SIZE",
    callback=check_memory,
    help="The memory that runners of a machine type may use, as in XS=512M.",
)
@click.option(
    "--enforce/--no-enforce",
    default=False,
    help="Whether runners are held to what their machine types say: memory, processors, "
    "processes, and GPUs where this machine has none (they are not).",
)
@click.option(
    "--kind",
    "kinds",
    multiple=True,
    help="A kind of environment that clients may ask for, as in container [default: all that "
    "are installed].",
)
@click.option(
    "--variable",
    "variables",
    multiple=True,
    metavar="NAME",
    help="An environment variable that builds and runners see too, or a pattern of names.",
)
@click.option(
    "--allow-open-runners",
    is_flag=True,
    help="Deploy applications that are not public even if local users reach their ports.",
)
@lead_option
@click.option(
    "--metrics-key/--no-metrics-key",
    default=None,
    help="Show the metrics only to those who have the key in metrics.key of the directory "
    "[default: where the address is not one of this machine alone].",
)
@limit_options
@click.option(
    "--cors/--no-cors",
    default=True,
    help="Whether web pages of all origins may send requests to applications (they may).",
)
@click.option(
    "--owner", default="owner", show_default=True, help="The nickname of the first user."
)
@click.option(
    "--end-runners",
    "ends_runners",
    is_flag=True,
    help="End the runners with the server. Without, they go on for the next server.",
)
@click.option(
    "--dev",
    is_flag=True,
    help="Serve this machine alone, with the key dev:dev, and show what runners print.",
)
@click.option("--verbose", is_flag=True, help="Log all refused requests.")
@click.option("--quiet", is_flag=True, help="Of deployments and runners, tell failures alone.")
@json_option
def start(
    data: Path | None,
    verbose: bool,
    quiet: bool,
    variables: tuple[str, ...],
    ends_runners: bool,
    as_json: bool,
    **settings: Any,
) -> None:
    """
    Start a control plane; Ctrl-C ends it.

    It prints the variables that point the fal SDK, CLI and fal_client at it, and on standard
    error a line for each deployment and each start, end and failure of a runner: elsewhere
    than on a terminal as JSON.

    \b
    Example:
      fal-core server start --address 10.0.0.7 --name server.example.com
    """
    from fal_core.plugins import find_environment
    from fal_server.activity.announcements import announcing
    from fal_server.commands.dev_mode import take_dev_mode
    from fal_server.commands.inherited_variables import leave_behind
    from fal_server.state.data_directories import DataDirectory
    from fal_server.state.opened_stores import open_files
    from fal_server.telemetry.exports import find_exports

    for kind in settings["kinds"]:
        find_environment(kind)  # A name that no plugin provides is a mistake.
    if settings["dev"]:
        take_dev_mode(settings)
    logging.basicConfig(
        level=logging.INFO if verbose else logging.WARNING,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )
    # It tells of each part of its own.
    logging.getLogger("alembic").setLevel(logging.WARNING)
    limits = take_limits(settings)
    chosen = ServerSettings(data=(data or default_data()).absolute(), limits=limits, **settings)
    raise_open_files(_MOST_FILES)
    with DataDirectory(chosen.data).locked():
        # Its client reads credentials from variables which are gone then, and stays connected.
        open_files(chosen.files, chosen.data)
        exports = find_exports(os.environ)
        leave_behind(os.environ, variables)
        with announcing(is_quiet=quiet):
            _run(chosen, _tell_as_json if as_json else _tell, exports)
        settle_runners(chosen, are_ended=ends_runners)


@server.command()
@data_option
@click.option("--tls", is_flag=True, help="Encrypt all connections, on this machine as well.")
@json_option
def env(data: Path | None, tls: bool, as_json: bool) -> None:
    """
    Print the variables that point the clients at the server.

    \b
    Example:
      eval "$(fal-core server env)"
    """
    from fal_server.commands.client_variables import to_shell, variables_of
    from fal_server.state.data_directories import DataDirectory

    directory = DataDirectory((data or default_data()).absolute())
    variables = variables_of(directory, tls=tls)
    if as_json:
        print_json(variables)
    else:
        click.echo(to_shell(variables))
    if "FAL_KEY" not in variables:
        click.echo(directory.describe_lost_key(), err=True)


def _run(
    settings: ServerSettings, tell: Callable[[ControlPlane], None], exports: Exports | None
) -> None:
    """Run a server until a signal ends it, and *tell* of it once it is ready."""
    from fal_server.commands.event_loops import Ending, run_to_the_end
    from fal_server.plane import serve

    def started(plane: ControlPlane) -> None:
        tell(plane)
        # Objects of the start live as long as the server: collections need not visit them.
        gc.freeze()

    ending = Ending(settings.drain + _LONGEST_END)

    async def main() -> None:
        stop = asyncio.Event()
        with ending.watch(stop.set):
            await serve(settings, stop, started, exports)

    try:
        run_to_the_end(main())
    finally:
        if exports is not None:
            exports.close()


def _key_of(plane: ControlPlane) -> str:
    """Return the key that clients are told of. Empty where they have been told before."""
    if plane.settings.dev:
        return DEV_KEY
    return plane.first_key.text if plane.first_key else ""


def _tell_as_json(plane: ControlPlane) -> None:
    """Print how to reach the server, as JSON."""
    from fal_server.commands.client_variables import variables_of

    key = _key_of(plane)
    print_json(
        {
            "address": plane.settings.host,
            "ports": dict(plane.ports),
            "variables": dict(variables_of(plane.directory, tls=False, key=key)),
        }
    )
    sys.stdout.flush()


def _tell(plane: ControlPlane) -> None:
    """Print how to reach the server."""
    from fal_core_worker.serving import networks
    from fal_server.commands.client_variables import to_shell, variables_of
    from fal_server.plane import describe_ports

    where = plane.settings.host
    click.echo(f"# A control plane runs at {where}: {describe_ports(plane.ports)}.")
    if plane.settings.dev:
        from fal_server.commands.dev_mode import show_lines

        click.echo("# The key dev:dev may do everything, on this machine alone.")
        plane.logs.listeners.append(show_lines)
    elif plane.first_key is not None:
        click.echo(
            "# Its first key is shown once, and kept in " + str(plane.directory.key_file)
        )
    if plane.settings.files is None and plane.keys.are_in_state:
        click.echo("# Files are in the directory: servers elsewhere need a store, by '--files'")
    if "local" in plane.settings.machines and (missing := networks.missing()):
        click.echo(f"# Of applications that insist on one port one runs at a time. {missing}")
    is_spread = any(each != "local" for each in plane.settings.machines)
    led = plane.urls.address("api").rpartition(":")[0].strip("[]")
    if plane.settings.lead_runners and is_spread and is_loopback(led):
        click.echo(
            f"# Released clients in runners are led to {led}, which leads nowhere on other "
            "machines. Name another address by '--address'."
        )
    if plane.settings.asks_for_metrics_key:
        click.echo(f"# The metrics ask for the key in {plane.directory.metrics_key_file}")
    shown = _key_of(plane)
    click.echo(to_shell(variables_of(plane.directory, tls=False, key=shown)))
    if not plane.directory.read_key():
        click.echo(f"# {plane.directory.describe_lost_key()}")
    elif not shown:
        command = ["fal-core", "server", "env", "--data", str(plane.settings.data)]
        click.echo(f"# FAL_KEY is shown by: {shlex.join(command)}")
    click.echo("# Ready. Ctrl-C ends it.")
    sys.stdout.flush()
