"""
The options of ``fal-core server start`` that set a limit, with a heading in its help.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import attrs
import click

from fal_server.limits import Limits, option_of, write_default

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
    """
    A command whose help lists the options that set a limit below the others.
    """

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """
        Write the options in two sections.
        """
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
    """
    Add an option for each limit to a command.
    """
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
    """
    Take the limits out of the *options* of a command.
    """
    return Limits(**{field.name: options.pop(field.name) for field in attrs.fields(Limits)})


def _check_message(_: click.Context, __: click.Parameter, size: int) -> int:
    if size >= _LARGEST:
        raise click.BadParameter("A gRPC message is smaller than 2G.")
    return size
