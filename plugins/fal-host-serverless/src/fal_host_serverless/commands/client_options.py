"""Options and arguments that several commands have."""

from __future__ import annotations

import functools
import re
import sys
from collections.abc import Callable
from copy import copy
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.shell_completion import CompletionItem

from fal_core.errors import FalServerlessError

if TYPE_CHECKING:
    from fal_host_serverless.client import SyncServerlessClient

CommandT = TypeVar("CommandT", bound="Callable[..., Any] | click.Command")


def json_option(command: CommandT) -> CommandT:
    """Give *command* the option ``--json``."""
    option = click.option("--json", "as_json", is_flag=True, help="Print JSON, for machines.")
    return option(command)


class _Renamed(click.Option):
    """An option whose first name is shown; fal's own command line has the other."""

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        shown = copy(self)
        shown.opts = self.opts[:1]
        return super(_Renamed, shown).get_help_record(ctx)


def stage_option(command: CommandT) -> CommandT:
    """Give *command* the option ``--stage``."""
    option = click.option(
        "--stage",
        "--env",
        "stage",
        cls=_Renamed,
        metavar="NAME",
        envvar="FAL_ENV",
        help="The stage to work in; by default the main one.",
    )
    return option(command)


_AGE = re.compile(r"(\d+)([smhd])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def client_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of the client, and pass the client to *command*."""

    @functools.wraps(command)
    def with_client(
        *args: Any, address: str | None, profile: str | None, team: str | None, **kwargs: Any
    ) -> Any:
        from fal_host_serverless.client import SyncServerlessClient
        from fal_host_serverless.errors import WrongArgument

        client = SyncServerlessClient(host=address, profile=profile, team=team)
        try:
            return command(*args, client=client, **kwargs)
        except WrongArgument as error:
            raise click.UsageError(str(error)) from error

    for option in (
        click.option("--team", metavar="NAME", help="The team that a login acts for."),
        click.option("--profile", metavar="NAME", help="The profile to read."),
        click.option(
            "--address",
            "--host",
            "address",
            cls=_Renamed,
            metavar="ADDRESS",
            help="The address of the service, as in host:port.",
        ),
    ):
        with_client = option(with_client)
    return with_client


def complete_app(
    context: click.Context, _: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """
    Return the deployed applications whose names begin with *incomplete*; none where the
    service cannot be asked.
    """
    from fal_host_serverless.client import SyncServerlessClient

    given = context.params
    try:
        client = SyncServerlessClient(
            host=given.get("address"), profile=given.get("profile"), team=given.get("team")
        )
        found = client.apps.list(environment_name=given.get("stage"))
    except Exception:
        return []
    return [CompletionItem(app.alias) for app in found if app.alias.startswith(incomplete)]


def check_stage(client: SyncServerlessClient, stage: str | None) -> None:
    """
    Check that there is a *stage*, whose emptiness would otherwise hide that it is mistyped.

    Raises:
        FalServerlessError: There is none.
    """
    if stage is None:
        return
    known = [each.name for each in client.environments.list()]
    if stage not in known:
        raise FalServerlessError(
            f"There is no stage {stage!r}. Yours: {', '.join(known) or 'none'}."
        )


class Since(click.ParamType):  # type: ignore[type-arg]  # not generic in 8.2
    """A time in the past: ISO 8601, or how long ago as in ``10m``, ``2h`` or ``1d``."""

    name = "time"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> datetime:
        if isinstance(value, datetime):
            return value
        ago = _AGE.fullmatch(value)
        if ago is not None:
            return datetime.now(timezone.utc) - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            self.fail(f"{value!r} is not a time. Write as in 10m, 2h, 1d or 2031-01-30T12:00.")
        return moment if moment.tzinfo else moment.astimezone()


class WholeNumber(click.ParamType):  # type: ignore[type-arg]  # not generic in 8.2
    """A whole number from 0 on."""

    name = "number"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> int:
        if not re.fullmatch("[0-9]+", str(value)):
            self.fail(f"{str(value)!r} is not a whole number >= 0.", param, ctx)
        return int(value)


def ask_secret(what: str, *, instead: str = "") -> str:
    """
    Ask for *what* without showing it; without a terminal, read a line of standard input.

    Arguments:
        instead: How else it can be given, as the end of the error message.

    Raises:
        ClickException: Standard input has no line, or an empty one.
    """
    if sys.stdin.isatty():
        return str(click.prompt(what, hide_input=True, err=True))
    line = sys.stdin.readline().rstrip("\r\n")
    if not line:
        raise click.ClickException(
            f"{what} cannot be read: standard input is no terminal, and has no line for it. "
            f"Write it there{instead}."
        )
    return line
