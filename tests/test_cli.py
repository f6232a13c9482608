"""
The program ``fal-core``: its commands, its exit codes, and how it says what is wrong.
"""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from fal_core.cli.program import COMMANDS

BROKEN = "raise RuntimeError('out of\\n  order')\n"

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

PLACED = """
import attrs
from fal_core import hookimpl
from fal_core.testing.hosts.in_process import InProcessHost

fal_core_api = 1

@attrs.define(eq=False, slots=False)
class Placed(InProcessHost):
    name = "placed"

@hookimpl
def fal_register_hosts():
    return [Placed]
"""

#: All that the core needs.
NEEDED = (
    *("fal_core", "fal_core_worker", "attr", "attrs", "cattr", "cattrs", "click"),
    *("cloudpickle", "exceptiongroup", "pluggy", "typing_extensions"),
)

TAKES_A_NAME = ADDS_COMMANDS.replace("def shout", "def doctor").replace("(shout)", "(doctor)")


def test_version(command_line: Any) -> None:
    """
    The version is that of the installed distribution.
    """
    from importlib.metadata import version

    done = command_line("--version")
    assert (done.returncode, done.stdout) == (0, f"fal-core {version('fal-core')}\n")


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(command_line: Any, name: str) -> None:
    """
    Each command of the core is there, and says how it is used.
    """
    done = command_line(name, "--help")
    assert done.returncode == 0
    assert done.stdout.startswith(f"Usage: fal-core {name} ")


def test_version_imports_no_command() -> None:
    """
    A command is imported when it is used, and plugins when they are needed.
    """
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
    """
    A command line that is wrong is told on the standard error, with exit code 2.
    """
    for arguments in (["bogus"], ["plugins", "list", "--bogus"], ["explain"]):
        done = command_line(*arguments)
        assert done.returncode == 2, arguments
        assert done.stdout == ""
        assert "Error: " in done.stderr


def test_command_that_is_written_wrongly_names_the_one_that_is_near(command_line: Any) -> None:
    """
    A command that is not there is answered with the one that was meant.
    """
    done = command_line("rum", "script.py::function")
    assert done.returncode == 2
    assert "No such command 'rum'. Did you mean 'run'?" in done.stderr
    assert "Did you mean" not in command_line("bogus").stderr


def test_command_of_a_plugin_that_is_not_installed_names_the_extra(command_line: Any) -> None:
    """
    A command that a plugin would add says how the plugin is had.
    """
    command_line.variables["FAL_CORE_PLUGINS"] = ""
    done = command_line("env", "list")
    assert done.returncode == 2
    assert "No such command 'env'. It comes with the extra 'local' of fal-core" in done.stderr


def test_hosts_of_one_name_are_one_sentence(command_line: Any) -> None:
    """
    Where two plugins claim the host of a function, running it says so without a traceback.
    """
    for name in ("placed", "placed_too"):
        command_line.install(name, PLACED)
    command_line.write(
        "task.py",
        """
        from fal_core import function

        @function("current", host="placed")
        def give() -> int:
            return 1
        """,
    )
    done = command_line("run", "task.py::give")
    assert done.returncode == 1
    assert done.stderr.startswith("Error: task.py:4: Plugin 'placed ")
    assert len(done.stderr.splitlines()) == 1


def test_nothing_is_coloured_off_terminals(command_line: Any) -> None:
    """
    What is not printed to a terminal has no escape sequences in it.
    """
    for arguments in (["bogus"], ["plugins", "list"], ["hosts", "list"], ["--help"]):
        done = command_line(*arguments)
        assert "\033" not in done.stdout + done.stderr


def test_plugins_add_commands(command_line: Any) -> None:
    """
    A plugin's commands are listed and run as the core's own.
    """
    command_line.install("shouting", ADDS_COMMANDS)
    assert command_line("shout").stdout == "LOUD\n"
    assert "shout" in command_line("--help").stdout


def test_a_plugin_takes_no_command_of_the_core(command_line: Any) -> None:
    """
    A plugin that adds a command of a name in use is reported, and changes nothing.
    """
    command_line.install("taking", TAKES_A_NAME)
    done = command_line("--help")
    assert done.returncode == 0
    assert "Check that fal-core and its plugins work" in done.stdout
    assert "Warning: Plugin 'taking (taking 1.0)' could not add its commands: " in done.stderr
    assert "'doctor'" in done.stderr


def test_plugins_list_names_the_broken(command_line: Any) -> None:
    """
    A plugin that cannot be loaded is listed with its reason, and hides no other.
    """
    command_line.install("torn", BROKEN)
    done = command_line("plugins", "list")
    assert done.returncode == 0
    assert "torn (torn 1.0): broken\n  it could not be loaded: RuntimeError: out of order." in (
        done.stdout
    )
    assert "environments: current" in done.stdout


def test_plugins_list_for_machines(command_line: Any) -> None:
    """
    ``--json`` prints what each plugin provides, and what is wrong with it.
    """
    command_line.install("torn", BROKEN)
    listed = {each["entry"]["name"]: each for each in json.loads(_json(command_line))}
    assert listed["core"]["environments"] == ["current"]
    assert listed["core"]["problem"] == ""
    assert "out of order" in listed["torn"]["problem"]


def _json(command_line: Any) -> str:
    done = command_line("plugins", "list", "--json")
    assert done.returncode == 0
    assert done.stderr == ""
    return str(done.stdout)


def test_doctor_reports_what_is_broken(command_line: Any) -> None:
    """
    A check that fails makes the exit code 1, and the other checks are made all the same.
    """
    command_line.install("torn", BROKEN)
    done = command_line("doctor", "--json")
    assert done.returncode == 1
    found = {finding["name"]: finding for finding in json.loads(done.stdout)}
    # What a plugin says in several lines is part of one sentence here.
    assert "out of order" in found["plugins"]["message"]
    assert not found["plugins"]["ok"]
    assert found["python"]["ok"]


def test_doctor_checks_the_cache(command_line: Any) -> None:
    """
    A cache directory that cannot be written is one sentence that says what to do.
    """
    command_line.write("file", "in the way")
    command_line.variables["FAL_CORE_CACHE"] = str(command_line.folder / "file")
    done = command_line("doctor")
    assert done.returncode == 1
    assert "fails  cache: " in done.stdout
    assert "FAL_CORE_CACHE" in done.stdout


def test_doctor_survives_a_check_that_raises(command_line: Any) -> None:
    """
    A plugin's check that raises has failed, and so has a plugin that cannot name its own.
    """
    command_line.install(
        "checking",
        """
        from fal_core import hookimpl
        from fal_core.checks import Check, Finding

        fal_core_api = 1

        def lines():
            raise OSError("first\\n  second.")

        @hookimpl
        def fal_health_checks():
            return [
                Check("division", lambda: 1 / 0),
                Check("lines", lines),
                Check("words", lambda: Finding(True, "One.\\nTwo.")),
            ]
        """,
    )
    done = command_line("doctor")
    assert done.returncode == 1
    assert "fails  division: The check failed: ZeroDivisionError: division by zero." in (
        done.stdout
    )
    # What they say in several lines is one here.
    assert "fails  lines: The check failed: OSError: first second.\n" in done.stdout
    assert "ok     words: One. Two.\n" in done.stdout


def test_check_names_the_extra_that_it_needs(command_line: Any) -> None:
    """
    Without pytest the laws cannot be run, and one sentence says how to have it.
    """
    command_line.install("placed", PLACED)
    for spec in filter(None, map(find_spec, NEEDED)):
        assert spec.origin is not None
        source = Path(spec.origin)
        source = source.parent if source.name == "__init__.py" else source
        (command_line.folder / "site" / source.name).symlink_to(source)
    # -S leaves out what is installed, and so pytest.
    done = subprocess.run(
        [sys.executable, "-S", "-m", "fal_core.cli", "hosts", "check", "placed"],
        env=command_line.variables,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1
    assert done.stderr == (
        "Error: The conformance laws are run by pytest, which is not installed: add the extra "
        "'testing' of fal-core. In a clone of it: pip install -e '.[testing]'\n"
    )


def test_unknown_hosts_are_named_with_what_there_is(command_line: Any) -> None:
    """
    A host that is not installed is an error in one sentence, with exit code 1.
    """
    for arguments in (["hosts", "describe", "mars"], ["hosts", "check", "mars"]):
        done = command_line(*arguments)
        assert done.returncode == 1
        assert done.stderr.startswith("Error: No host is called 'mars'. Installed: ")
        assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("command", [(), ("hosts",)])
def test_no_command_is_answered_with_the_help(command_line: Any, command: tuple[str, ...]):
    """
    Without a command the help is shown, once, and the exit code is that of wrong use.
    """
    done = command_line(*command)
    assert done.returncode == 2
    assert (done.stdout + done.stderr).count("Usage:") == 1
    assert "Error" not in done.stderr
