"""The program ``fal-core``: its commands, exit codes and error messages."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from fal_core.cli.program import COMMANDS, SECTIONS

ADDS_COMMANDS = """
import click
from fal_core import hookimpl

fal_core_api = 1

@click.command()
def shout():
    click.echo("LOUD")

@hookimpl
def fal_register_commands(cli):
    cli.add_command(shout)
"""


TAKES_A_NAME = ADDS_COMMANDS.replace("def shout", "def doctor").replace("(shout)", "(doctor)")


def test_version(command_line: Any) -> None:
    """The version is that of the installed distribution."""
    from importlib.metadata import version

    for option in ("--version", "-V"):
        done = command_line(option)
        assert (done.returncode, done.stdout) == (0, f"fal-core {version('fal-core')}\n")


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(command_line: Any, name: str) -> None:
    """Each command of the core is there, and says how it is used."""
    done = command_line(name, "--help")
    assert done.returncode == 0
    assert done.stdout.startswith(f"Usage: fal-core {name} ")


def test_version_imports_no_command() -> None:
    """A command is imported when it is used, and plugins when they are needed."""
    program = (
        "import sys\n"
        "from fal_core.cli.program import run\n"
        "run(['--version'])\n"
        "print(*(name for name in sys.modules if name.startswith(('fal_', 'cattrs'))))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    modules = {name.partition(":")[0] for name in COMMANDS.values()}
    assert not modules & set(done.stdout.split())
    assert "cattrs" not in done.stdout.split()


def test_usage_errors_exit_with_2(command_line: Any) -> None:
    """A wrong command line is an error on standard error, with exit code 2."""
    for arguments in (["bogus"], ["plugins", "list", "--bogus"], ["explain"]):
        done = command_line(*arguments)
        assert done.returncode == 2, arguments
        assert done.stdout == ""
        assert "Error: " in done.stderr


def test_command_that_is_written_wrongly_names_the_one_that_is_near(command_line: Any) -> None:
    """An unknown command is an error that suggests the nearest one."""
    done = command_line("rum", "script.py::function")
    assert done.returncode == 2
    assert "No such command 'rum'. Did you mean 'run'?" in done.stderr
    assert "Did you mean" not in command_line("xyzzy").stderr


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("login", "'fal-core profile key' keeps a key."),
        ("serve", "To serve: 'fal-core run FILE.PY::APP'."),
    ],
)
def test_command_of_another_program_names_what_does_the_same(
    command_line: Any, name: str, told: str
) -> None:
    """What other programs call otherwise is an error that says what to write."""
    done = command_line(name)
    assert done.returncode == 2
    assert f"Error: No such command {name!r}. {told}\n" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("run", "--hlep"), "No such option '--hlep'. Did you mean '--help'?"),
        (("run", "--on=local"), "Missing argument 'FILE.PY::NAME'."),
        (("env", "list", "--jsno"), "No such option '--jsno'. Did you mean '--json'?"),
        (("env", "list", "--zz"), "No such option '--zz'."),
        (("run", "two.py:f"), "Write two colons: 'two.py::f'."),
    ],
)
def test_mistyped_word_names_the_one_that_was_meant(
    command_line: Any, arguments: tuple[str, ...], told: str
) -> None:
    """
    An option that there is not is an error that suggests the nearest one, also where other
    words are for a function.
    """
    done = command_line(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert f"Error: {told}\n" in done.stderr or f" {told}\n" in done.stderr


def test_commands_stand_in_sections_with_an_example(command_line: Any) -> None:
    """The help lists each command once, under what it is for; those of plugins come last."""
    command_line.install("shouting", ADDS_COMMANDS)
    printed = command_line("--help").stdout
    listed = [name for names in SECTIONS.values() for name in names]
    assert len(listed) == len(set(listed))
    assert set(COMMANDS) <= set(listed)
    assert printed.index("\nFunctions:\n  run ") < printed.index("\n  $ fal-core run ")
    assert printed.index("\nOthers:\n") < printed.index("\n  shout")


def test_command_of_a_plugin_that_is_not_installed_names_the_extra(command_line: Any) -> None:
    """A command of a plugin that is not installed is an error that says how to install it."""
    command_line.variables["FAL_CORE_PLUGINS"] = ""
    done = command_line("server", "start")
    assert done.returncode == 2
    assert "`pip install 'fal-core[server]'` installs it." in done.stderr


def test_nothing_is_coloured_off_terminals(command_line: Any) -> None:
    """Output that does not go to a terminal has no escape sequences."""
    for arguments in (["bogus"], ["plugins", "list"], ["hosts", "list"], ["--help"]):
        done = command_line(*arguments)
        assert "\033" not in done.stdout + done.stderr


def test_plugins_add_commands(command_line: Any) -> None:
    """A plugin's commands are listed and run as the core's own."""
    command_line.install("shouting", ADDS_COMMANDS)
    assert command_line("shout").stdout == "LOUD\n"
    assert "shout" in command_line("--help").stdout


def test_a_plugin_takes_no_command_of_the_core(command_line: Any) -> None:
    """A plugin that adds a command of a name in use is reported, and changes nothing."""
    command_line.install("taking", TAKES_A_NAME)
    done = command_line("--help")
    assert done.returncode == 0
    assert "Check that fal-core and its plugins work" in done.stdout
    assert "Warning: Plugin 'taking (taking 1.0)' could not add its commands: " in done.stderr
    assert "'doctor'" in done.stderr


def test_plugins_add_commands_to_a_group_of_the_core(command_line: Any) -> None:
    """A name of two words adds a command to the group ``env``, beside those that are there."""
    command_line.install("shouting", ADDS_COMMANDS.replace("(shout)", "(shout, 'env shout')"))
    assert command_line("env", "shout").stdout == "LOUD\n"
    lines = command_line("env", "--help").stdout.split("Commands:\n")[1].splitlines()
    assert {"list", "prune", "du", "shout"} <= {line.split()[0] for line in lines}
    for name in ("env list", "hosts shout"):
        command_line.install("shouting", ADDS_COMMANDS.replace("(shout)", f"(shout, {name!r})"))
        done = command_line("env", "--help")
        assert done.returncode == 0
        assert "Warning: Plugin 'shouting (shouting 1.0)' could not add its commands: " in (
            done.stderr
        )


@pytest.mark.parametrize("command", [(), ("hosts",)])
def test_no_command_is_answered_with_the_help(command_line: Any, command: tuple[str, ...]):
    """Without a command the help is shown, once, and the exit code is that of wrong use."""
    done = command_line(*command)
    assert done.returncode == 2
    assert (done.stdout + done.stderr).count("Usage:") == 1
    assert "Error" not in done.stderr
