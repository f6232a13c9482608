"""``fal-core hosts``: the places where functions can run."""

from __future__ import annotations

import contextlib
import importlib.util
import inspect
import os
import sys
import tempfile
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import attrs
import click

from fal_core.cli.outputs import complain, print_json
from fal_core.cli.program import INTERRUPTED
from fal_core.cli.shells.candidates import complete_host
from fal_core.cli.tables import print_table

if TYPE_CHECKING:
    from fal_core.hosts import Capabilities, Host

#: The exit code of a strict check where a law was not checked.
UNCHECKED = 3

_json = click.option("--json", "as_json", is_flag=True, help="Print JSON, for machines.")


@click.group()
def hosts() -> None:
    """Look at the hosts that are installed, and check them."""


@hosts.command("list")
@_json
def list_(as_json: bool) -> None:
    """
    List the installed hosts.

    \b
    Example:
      fal-core hosts list
    """
    from fal_core.plugins.installed import load_plugins

    plugins = load_plugins()
    found = [
        {
            "name": name,
            "summary": _summary(cls),
            "class": f"{cls.__module__}.{cls.__qualname__}",
        }
        for name, cls in sorted(plugins.hosts.items())
    ]
    if as_json:
        print_json(found)
    elif found:
        print_table(("NAME", "SUMMARY"), [(each["name"], each["summary"]) for each in found])
    elif not plugins.broken:
        click.echo("No host is installed. `pip install 'fal-core[local]'` brings one.")
    # These may be the reason why a host is missing from the list.
    for error in plugins.conflicts_of("host") if found else plugins.broken:
        complain(str(error), title="Warning")


@hosts.command()
@click.argument("host", metavar="NAME_OR_URL", shell_complete=complete_host)
@_json
def describe(host: str, as_json: bool) -> None:
    """
    Show what a host can do, and which options it understands.

    \b
    Example:
      fal-core hosts describe local
    """
    from fal_core.plugins.installed import find_host

    place = find_host(host)
    abilities, options = _abilities(place.capabilities), _options(place)
    if as_json:
        print_json(
            {
                "name": place.name,
                "summary": _summary(type(place)),
                "capabilities": abilities,
                "options": options,
            }
        )
        return
    click.echo(f"{place.name}: {_summary(type(place))}\n")
    print_table(
        ("CAPABILITY", "VALUE"),
        [(name.replace("_", " "), _shown(value)) for name, value in abilities.items()],
    )
    click.echo()
    print_table(
        ("OPTION", "TYPE", "DEFAULT", "USED"),
        [
            (each["name"], each["type"], each["default"], _shown(each["used"]))
            for each in options
        ],
    )


@hosts.command(context_settings={"ignore_unknown_options": True})
@click.argument("host", metavar="NAME_OR_URL", shell_complete=complete_host)
@click.argument("pytest_arguments", nargs=-1, type=click.UNPROCESSED)
@click.option(
    "--keep-going", is_flag=True, help="Go on where no law of the first group is kept."
)
@click.option(
    "--strict", is_flag=True, help="Exit with 3 where a law was not checked and none is broken."
)
@_json
def check(
    host: str, pytest_arguments: tuple[str, ...], keep_going: bool, strict: bool, as_json: bool
) -> None:
    """
    Check a host against the conformance laws for what it declares.

    What is broken is printed as soon as it is known. After the tests, or after Ctrl-C, a
    table lists each promise: kept, broken and how, or not claimed and which capability it
    needs. The last line warns of laws that were not checked, for want of something that the
    tests of the host provide. Further arguments are for pytest, as in -k cancel. The exit
    code is 1 where a promise is broken, and 130 after Ctrl-C.

    \b
    Example:
      fal-core hosts check local -k cancel
    """
    from fal_core.plugins.installed import find_host

    find_host(host)
    raise click.exceptions.Exit(
        check_host(
            host, pytest_arguments, keep_going=keep_going, strict=strict, as_json=as_json
        )
    )


_TEST = """\
import pytest

from fal_core.plugins.installed import find_host
from fal_testing.suite import *


@pytest.fixture(scope="session")
def host():
    host = find_host({host!r})
    yield host
    host.close()


@pytest.fixture(scope="session")
def host_url():
    return {host!r}
"""


def check_host(
    host: str,
    arguments: Sequence[str] = (),
    *,
    keep_going: bool = False,
    strict: bool = False,
    as_json: bool = False,
) -> int:
    """
    Run the laws for what *host* declares, and print which promises it keeps.

    Returns:
        0 if it keeps them all, and 1 if not; 3 if it breaks none, and some were not checked
        and have to be; 130 after Ctrl-C.

    Arguments:
        host: The name or the URL of an installed host.

        arguments: Further arguments of pytest.

        keep_going: Whether all laws are run where none of the first group is kept.

        strict: Whether all laws have to be checked for what the host declares.

        as_json: Whether the promises are printed as JSON, and what pytest prints goes to
            standard error.

    Raises:
        ClickException: The laws cannot be run.
    """
    if importlib.util.find_spec("fal_testing") is None:
        raise click.ClickException(
            "The conformance laws are those of fal-testing, which is not installed. "
            "Run `pip install 'fal-core[testing]'`, or `pip install -e '.[testing]'` in a "
            "clone."
        )
    import pytest

    from fal_testing.harness.promises import PromiseRecorder, count_of, rows_of, warning_of
    from fal_testing.suite import GROUPS

    recorder = PromiseRecorder(GROUPS, tells=True, stops=not keep_going)
    with tempfile.TemporaryDirectory(prefix="fal-core-check-") as folder:
        path = os.path.join(folder, "test_conformance.py")
        configuration = os.path.join(folder, "pytest.ini")
        with open(path, "w", encoding="utf-8") as file:
            file.write(_TEST.format(host=host))
        # A configuration of its own: that of a project may refuse the marks of the laws.
        with open(configuration, "w", encoding="utf-8") as file:
            file.write("[pytest]\n")
        own = [path, "-c", configuration, f"--rootdir={folder}", "-p", "no:cacheprovider"]
        own.append("--import-mode=importlib")
        output = contextlib.redirect_stdout(sys.stderr if as_json else sys.stdout)
        with output:
            code = pytest.main([*own, *arguments], plugins=[recorder])
    if code == pytest.ExitCode.NO_TESTS_COLLECTED:
        raise click.ClickException("No law was chosen by the arguments that pytest was given.")
    if as_json:
        print_json([attrs.asdict(promise) for promise in recorder.promises])
    elif recorder.promises:
        click.echo()
        print_table(("STATE", "GROUP", "PROMISE"), rows_of(recorder.promises))
        click.echo(f"\n{count_of(recorder.promises)}")
    if recorder.stopped:
        click.echo(
            f"No law of the group {recorder.stopped!r} is kept, so no further one was run: all "
            "others need what these promise. Mend these first; --keep-going runs all laws, and "
            "arguments of pytest choose some, as in -k cancel.",
            err=as_json,
        )
    if recorder.unchecked:
        click.echo(f"Warning: {warning_of(recorder.unchecked)}", err=as_json)
    # A recorder that has ended the tests interrupts them as well.
    if code == pytest.ExitCode.INTERRUPTED and not recorder.stopped:
        return INTERRUPTED
    if code == pytest.ExitCode.OK:
        return UNCHECKED if strict and recorder.unchecked else 0
    return 1


def _summary(cls: type[Host[..., Any]]) -> str:
    """Return the first sentence of the docstring of *cls*, without its full stop."""
    text = inspect.cleandoc(cls.__doc__ or "").partition("\n\n")[0]
    return " ".join(text.split()).removesuffix(".")


def _abilities(capabilities: Capabilities) -> dict[str, Any]:
    found = attrs.asdict(capabilities)
    # The table of options shows this for each of them.
    del found["options"]
    return {
        name: sorted(value) if isinstance(value, frozenset) else value
        for name, value in found.items()
    }


def _options(host: Host[..., Any]) -> list[dict[str, Any]]:
    from fal_core.conversion.annotations import describe as in_words
    from fal_core.conversion.annotations import option_names, option_types
    from fal_core.options import HostOptions

    documented = set(option_names(HostOptions))
    acted_on = host.capabilities.options
    fields = {field.alias: field for field in attrs.fields(host.options)}
    return [
        {
            "name": name,
            "type": in_words(annotation),
            "default": repr(fields[name].default),
            "used": acted_on is None or name in acted_on or name not in documented,
        }
        for name, annotation in sorted(option_types(host.options).items())
        if not name.startswith("_")
    ]


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None:
        return "any"
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
