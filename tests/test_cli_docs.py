"""The page of the command line has the help texts of the program."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from fal_core.cli.program import COMMANDS, cli, import_command

PAGE = Path(__file__).resolve().parents[1] / "docs" / "command-line.md"


def commands_under(
    group: click.Group, context: click.Context, names: tuple[str, ...]
) -> Iterator[tuple[str, ...]]:
    """Yield the names of *group*'s commands, and of the commands under them."""
    for name in COMMANDS if group is cli else group.list_commands(context):
        # Without what installed plugins add to groups of the core.
        command = import_command(name) if group is cli else group.get_command(context, name)
        assert command is not None
        yield (*names, name)
        if isinstance(command, click.Group):
            below = click.Context(command, parent=context, info_name=name)
            yield from commands_under(command, below, (*names, name))


def help_of(names: tuple[str, ...]) -> str:
    """Return the help text of the command of *names*."""
    command: click.Command = cli
    context = click.Context(
        cli, info_name="fal-core", terminal_width=80, **cli.context_settings
    )
    for name in names:
        assert isinstance(command, click.Group)
        found = import_command(name) if command is cli else command.get_command(context, name)
        assert found is not None
        command = found
        context = click.Context(command, parent=context, info_name=name)
    return command.get_help(context)


@pytest.fixture(scope="module")
def commands() -> list[tuple[str, ...]]:
    """The names of every command."""
    return list(commands_under(cli, click.Context(cli, info_name="fal-core"), ()))


def test_page_has_the_help_of_every_command(commands: list[tuple[str, ...]]) -> None:
    """The page shows the help of each command, word for word."""
    text = PAGE.read_text("utf-8")
    blocks = {
        names: f"```text\n$ fal-core {' '.join(names)} --help\n{help_of(names)}\n```\n"
        for names in commands
    }
    assert blocks
    assert {names: block for names, block in blocks.items() if block not in text} == {}


def test_page_has_no_command_that_is_gone(commands: list[tuple[str, ...]]) -> None:
    """The page shows the help of no command that there is not."""
    lines = PAGE.read_text("utf-8").splitlines()
    shown = [line for line in lines if line.startswith("$ ") and line.endswith(" --help")]
    assert sorted(shown) == sorted(f"$ fal-core {' '.join(names)} --help" for names in commands)
