"""
Dev mode: a server for one developer, with a key that needs no copying, and the lines of
runners on the terminal.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from fal_server.activity.announcements import escape_controls
from fal_server.settings import is_loopback

if TYPE_CHECKING:
    from fal_server.logs.log_lines import LogLine

#: Options with which others than this machine use a server, and what they are called.
_SHARED = {
    "public": "--public",
    "proxies": "--proxy",
    "advertise": "--advertise",
    "database": "--database",
    "machines": "--machine",
}

#: The colours of the names of applications.
_COLOURS = ("cyan", "green", "magenta", "yellow", "blue")


def take_dev_mode(settings: dict[str, Any]) -> None:
    """
    Check the *settings* of ``fal-core server start --dev``, and add what it stands for.

    Raises:
        UsageError: Others than this machine would use the server.
    """
    if not is_loopback(settings["host"]):
        raise click.UsageError(
            "With '--dev' everybody knows the key, so that the server listens on this machine "
            f"alone. Leave out '--address {settings['host']}', or '--dev'."
        )
    for name, option in _SHARED.items():
        if settings.get(name) not in (None, (), {}, ("local",)):
            raise click.UsageError(
                "With '--dev' everybody knows the key, so that the server is for this machine "
                f"alone. Leave out {option!r}, or '--dev'."
            )
    # Every local user may use the applications anyway.
    settings["allow_open_runners"] = True
    if settings.get("lead_runners") is None:
        # What was written for fal's runners works without a variable being known.
        settings["lead_runners"] = True


def show_lines(lines: Sequence[LogLine]) -> None:
    """Print lines of runners."""
    for line in lines:
        click.echo(_describe(line))


def _describe(line: LogLine) -> str:
    colour = _COLOURS[sum(line.application.encode()) % len(_COLOURS)]
    name = click.style(escape_controls(line.application), fg=colour)
    when = click.style(time.strftime("%H:%M:%S", time.localtime(line.time)), dim=True)
    is_bad = line.level in ("ERROR", "STDERR", "CRITICAL")
    # Tabs and the lines of a traceback stay.
    text = "\n".join(map(_escape_line, line.message.split("\n")))
    message = click.style(text, fg="red") if is_bad else text
    return f"{when} {name} | {message}"


def _escape_line(text: str) -> str:
    return "\t".join(map(escape_controls, text.removesuffix("\r").split("\t")))
