"""What all commands have in common, those of plugins included."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator
from typing import Any

import click
import pytest

from fal_core.cli.program import cli

Path = tuple[str, ...]


def commands_under(group: click.Group, path: Path) -> Iterator[tuple[Path, click.Command]]:
    """Yield the commands of *group* and of the groups in it that are no groups, with their names."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from commands_under(command, (*path, name))
        else:
            yield (*path, name), command


#: What prints text for a shell or a person alone, and what prints the response of an
#: application: JSON is what that is sent by ``--json``, as with ``--input``.
WITHOUT_JSON = {("help",), ("completion",), ("call",)}

#: Names of fal's own command line.
HIDDEN = {"environments", "profile host"}


@pytest.fixture(scope="module")
def commands() -> dict[Path, click.Command]:
    """Every command by its names."""
    return dict(commands_under(cli, ()))


def without_hidden(commands: dict[Path, click.Command]) -> list[Path]:
    """Return the names of the commands that the help shows."""
    return [path for path in sorted(commands) if not {path[0], " ".join(path)} & HIDDEN]


def examples_of(command: click.Command) -> list[str]:
    """Return the command lines that the help of *command* shows."""
    _, _, shown = (command.help or "").replace("Examples:", "Example:").partition("Example:\n")
    return [line.strip() for line in shown.splitlines() if line.strip()]


def test_plugins_of_this_repository_add_commands(commands: dict[Path, click.Command]) -> None:
    """The tests below are about more than the commands of the core."""
    groups = {path[0] for path in commands}
    assert {"run", "env", "apps", "stages", "server", "machines"} <= groups


def test_command_prints_json(
    commands: dict[Path, click.Command], check_all: Callable[..., None]
) -> None:
    """Each command has the flag ``--json``."""

    def check(path: Path) -> None:
        flags = [each for each in commands[path].params if "--json" in each.opts]
        assert len(flags) == 1
        assert isinstance(flags[0], click.Option)
        assert flags[0].is_flag

    check_all(check, sorted(commands.keys() - WITHOUT_JSON))


def test_help_of_a_command_has_examples_that_hold(
    commands: dict[Path, click.Command], check_all: Callable[..., None]
) -> None:
    """Each command shows an example, whose options and arguments it takes."""

    def check(path: Path) -> None:
        found = examples_of(commands[path])
        assert found
        for line in found:
            # As in eval "$(fal-core …)".
            line = line.partition("$(")[2].partition(")")[0] if "$(" in line else line
            words = shlex.split(line)
            assert words[: len(path) + 1] == ["fal-core", *path]
            given: list[Any] = words[len(path) + 1 :]
            given = given[: given.index(">")] if ">" in given else given
            # click remembers the option for help, as its first context names it.
            commands[path].make_context("example", given, **cli.context_settings)

    check_all(check, without_hidden(commands))


def test_words_have_one_meaning(
    commands: dict[Path, click.Command], check_all: Callable[..., None]
) -> None:
    """
    A host is named by ``--on`` and an address by ``--address``, and JSON is given by
    ``--input``; what is created is not added, and what is deleted not removed.
    """

    def check(path: Path) -> None:
        options = [each for each in commands[path].params if isinstance(each, click.Option)]
        # A flag of this one says what is begun.
        if path != ("plugins", "new"):
            shown = {each.opts[0] for each in options}
            assert not {"--host", "--machine", "--env", "--output-json"} & shown
        assert path[-1] not in ("add", "remove", "rm", "new-key")

    check_all(check, without_hidden(commands))
