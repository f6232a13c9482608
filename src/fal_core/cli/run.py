"""
``fal-core run``: call a function, and print what it returns.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import IO, Any

import click

from fal_core.cli import arguments
from fal_core.cli.measuring import enforcing, measured
from fal_core.cli.outputs import ResultPrinter, exit_of_function
from fal_core.cli.progress import make_progress, shown
from fal_core.cli.services import serving
from fal_core.functions import IsolatedFunction
from fal_core.loading.scripts import with_own_block
from fal_core.loading.targets import load_target


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("target", metavar="FILE.PY::NAME")
@click.argument("words", nargs=-1, metavar="[ARGUMENTS]...", type=click.UNPROCESSED)
@click.option("--on", "host", metavar="HOST", help="Run it on this host: a name or a URL.")
@click.option(
    "--json",
    "json_text",
    metavar="JSON",
    help="All arguments: an object gives them by name, an array by position; - reads it.",
)
@click.option(
    "--output",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="How the result is printed. With json nothing else is, on the standard output.",
)
@click.option(
    "--enforce",
    is_flag=True,
    help="Hold it to the limits of the machine type that it declares, on this machine.",
)
@click.option(
    "--measure",
    is_flag=True,
    help="Tell what it has used, and the smallest machine type that has as much.",
)
@click.option(
    "--detach",
    is_flag=True,
    help="Start it, print its reference and leave; it goes on without this process.",
)
@click.option(
    "--reload",
    is_flag=True,
    help="Start a service again when a file of it is saved.",
)
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    metavar="PORT",
    help="The port of a service. By default a free one.",
)
def run(
    target: str,
    words: tuple[str, ...],
    host: str | None,
    json_text: str | None,
    output: str,
    enforce: bool,
    measure: bool,
    detach: bool,
    reload: bool,
    port: int | None,
) -> None:
    """
    Run an isolated function and print what it returns, or serve an application.

    Arguments are given by position, or by name as in --count 3, and are read as the
    function's annotations say: numbers, true and false as they are written, lists and
    mappings as JSON. What a generator yields is printed as it comes.

    A function without requirements has those of the block '# /// script' of its file.

    Arguments behind -- are the function's alone, also where this command has an
    option of the same name.

    A function that exits, as by sys.exit(4), gives this command its exit code.

    A service prints its URLs and its log until Ctrl-C: once lets running requests
    finish, twice ends it at once.
    """
    if reload:
        given_too = {
            "Arguments": words or json_text is not None,
            "Option '--enforce'": enforce,
            "Option '--measure'": measure,
            "Option '--detach'": detach,
        }
        if other := next((name for name, is_given in given_too.items() if is_given), ""):
            raise click.UsageError(f"{other} cannot be given with '--reload'.")
        serving.serve_again(target, host, port)
        return
    with _standard_output(json=output == "json") as stream:
        function = with_own_block(load_target(target))
        given = parse(function, words, json_text)
        if host is not None:
            function = function.on(host)
        if enforce:
            function = function.on(enforcing(function.host))
        if port is not None:
            function = serving.at_port(function, port)
        if measure and (detach or serving.is_service(function)):
            raise click.UsageError("--measure is for calls that are waited for.")
        if detach:
            print(start(function, given), file=stream)
            return
        if serving.is_service(function):
            serving.serve_once(function, given)
            return
        progress = make_progress()
        try:
            with contextlib.ExitStack() as stack:
                if measure:
                    function = stack.enter_context(measured(function))
                called = stack.enter_context(shown(function, progress))
                call(called, given, ResultPrinter(stream, output))
        except BaseException as error:
            leaving = exit_of_function(error)
            if leaving is None:
                raise
            sys.stdout.flush()
            raise leaving from error


def parse(
    function: IsolatedFunction[..., Any], words: tuple[str, ...], json_text: str | None
) -> arguments.Arguments:
    """
    Return the arguments on the command line; what serves requests takes its arguments of them.
    """
    context = click.get_current_context()
    if function.options.gateway.get("serve"):
        if words or json_text is not None:
            raise click.UsageError("A service takes its arguments of requests.", context)
        return (), {}
    if words and json_text is not None:
        raise click.UsageError("Give arguments as words or by --json, not both.", context)
    try:
        if json_text is not None:
            return arguments.parse_json_arguments(function, json_text)
        return arguments.parse_words(function, words)
    except arguments.UnknownArgument as error:
        hint = _hint_at_option(error.name, context) if words else ""
        raise click.UsageError(f"{error}{hint}", context) from None
    except arguments.ArgumentError as error:
        raise click.UsageError(str(error), context) from None


def _hint_at_option(name: str, context: click.Context) -> str:
    """
    Return which option of the command was meant by *name*, which no argument has.
    """
    from difflib import get_close_matches

    options = [each for option in context.command.params for each in option.opts]
    near = get_close_matches(f"--{name}", options, 1, 0.8)
    return f" Did you mean the option {near[0]!r}?" if near else ""


def call(
    function: IsolatedFunction[..., Any], given: arguments.Arguments, show: ResultPrinter
) -> None:
    """
    Call *function* and show its result, or its items as they come.
    """
    args, kwargs = given
    if function.flavour.endswith("generator"):
        for item in function.stream(*args, **kwargs):
            show(item)
    else:
        show(function(*args, **kwargs))


def start(function: IsolatedFunction[..., Any], given: arguments.Arguments) -> str:
    """
    Start *function* detached from this process, and return its reference.
    """
    args, kwargs = given
    return function.with_policy(lifetime="detached").spawn(*args, **kwargs).reference


@contextlib.contextmanager
def _standard_output(*, json: bool) -> Iterator[IO[str]]:
    """
    Yield the stream for results; with *json*, anything else goes to standard error.
    """
    results = sys.stdout
    if not json:
        yield results
        return
    with contextlib.redirect_stdout(sys.stderr):
        yield results
