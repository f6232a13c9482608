"""
Options that several commands have, and how values are shown.
"""

from __future__ import annotations

import functools
import re
import sys
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta, timezone
from typing import Any

import attrs
import click

from fal_core.cli.outputs import print_json, print_table

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, for machines.")
environment_option = click.option(
    "--env",
    "environment_name",
    metavar="NAME",
    envvar="FAL_ENV",
    help="The environment of the service; the main one where this is left out.",
)

_AGE = re.compile(r"(\d+)([smhd])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def client_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """
    Add the options that say whom to ask, and as whom; *command* takes the client.
    """

    @functools.wraps(command)
    def with_client(
        *args: Any, host: str | None, profile: str | None, team: str | None, **kwargs: Any
    ) -> Any:
        from fal_host_serverless.arguments import WrongArgument
        from fal_host_serverless.client import SyncServerlessClient

        client = SyncServerlessClient(host=host, profile=profile, team=team)
        try:
            return command(*args, client=client, **kwargs)
        except WrongArgument as error:
            raise click.UsageError(str(error)) from error

    for option in (
        click.option("--team", metavar="NAME", help="The team that a login acts for."),
        click.option("--profile", metavar="NAME", help="The profile to take settings of."),
        click.option(
            "--host", metavar="ADDRESS", help="The address of the service, as in host:port."
        ),
    ):
        with_client = option(with_client)
    return with_client


def tell(sentence: str, *, as_json: bool, **facts: Any) -> None:
    """
    Print what was done: *sentence* for people, *facts* for machines.
    """
    if as_json:
        print_json(facts)
    else:
        click.echo(sentence)


class Since(click.ParamType):  # type: ignore[type-arg]  # not generic in 8.2
    """
    A time in the past: ISO 8601, or how long ago as in ``10m``, ``2h`` or ``1d``.
    """

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
            self.fail(f"{value!r} is no time. Write as in 10m, 2h, 1d or 2031-01-30T12:00.")
        return moment if moment.tzinfo else moment.astimezone()


class WholeNumber(click.ParamType):  # type: ignore[type-arg]  # not generic in 8.2
    """
    A whole number from 0 on.
    """

    name = "number"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> int:
        if not re.fullmatch("[0-9]+", str(value)):
            self.fail(f"{str(value)!r} is not a whole number >= 0.", param, ctx)
        return int(value)


def ask_secret(what: str, *, instead: str = "") -> str:
    """
    Return *what* as somebody types it, unseen; where there is no terminal, a line of the
    standard input.

    Arguments:
        instead: How else it can be given, as the end of a sentence.

    Raises:
        ClickException: The standard input has no line, or an empty one.
    """
    if sys.stdin.isatty():
        return str(click.prompt(what, hide_input=True, err=True))
    line = sys.stdin.readline().rstrip("\r\n")
    if not line:
        raise click.ClickException(
            f"{what} is to be a line of the standard input, which is no terminal here and "
            f"has none. Write it there{instead}."
        )
    return line


def show(
    found: Sequence[Any],
    headings: Sequence[str],
    row: Callable[[Any], Sequence[Any]],
    *,
    as_json: bool,
    none: str,
) -> None:
    """
    Print values as a table, or as JSON.

    Arguments:
        row: Returns what stands under *headings*.

        none: What is printed where there is nothing.
    """
    if as_json:
        print_json([to_plain(each) for each in found])
    elif not found:
        click.echo(none)
    else:
        print_table(headings, [[_cell(value) for value in row(each)] for each in found])


def to_plain(value: Any) -> Any:
    """
    Return *value* as JSON has it.
    """
    return attrs.asdict(value, value_serializer=_serialize)


def _serialize(_: Any, __: Any, value: Any) -> Any:
    import enum

    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, datetime):
        return value.isoformat()
    return value.value if isinstance(value, enum.Enum) else value


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value)) or "-"
    if isinstance(value, datetime):
        return value.astimezone().strftime("%Y-%m-%d %H:%M")
    if isinstance(value, timedelta):
        return str(timedelta(seconds=round(value.total_seconds())))
    return str(value)
