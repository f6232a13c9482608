"""``fal-core run``: call a function, and print what it returns."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import IO, Any, TypeVar

import click

from fal_core.abilities import EnforcingHost, MeasuringHost, Usage
from fal_core.cli import arguments
from fal_core.cli.outputs import ResultPrinter, exit_of_function
from fal_core.cli.progress import make_progress, shown
from fal_core.cli.services import serving
from fal_core.cli.shells.candidates import complete_host, complete_target
from fal_core.errors import UnsupportedError
from fal_core.functions import IsolatedFunction
from fal_core.hosts import Host
from fal_core.loading.scripts import with_own_block
from fal_core.loading.targets import load_target
from fal_core.machines import Machine, smallest_machine
from fal_core.reprs import show_size

_T = TypeVar("_T")


@click.command(
    context_settings={"ignore_unknown_options": True},
    short_help="Run a function and print what it returns, or serve an app.",
)
@click.argument("target", metavar="FILE.PY::NAME", shell_complete=complete_target)
@click.argument("words", nargs=-1, metavar="[ARGUMENTS]...", type=click.UNPROCESSED)
@click.option(
    "--on",
    "host",
    metavar="HOST",
    shell_complete=complete_host,
    help="Run it on this host: a name or a URL.",
)
@click.option(
    "--input",
    "input_text",
    metavar="JSON",
    help="All arguments: an object gives them by name, an array by position; - reads it.",
)
@click.option(
    "--map",
    "is_map",
    is_flag=True,
    help="Call it for each item of the input: of an array, or of lines that - reads.",
)
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="Print the result as JSON, and nothing else on the standard output.",
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
    input_text: str | None,
    is_map: bool,
    as_json: bool,
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

    \b
    Examples:
      fal-core run tasks.py::describe 3000000 --binary
      fal-core run tasks.py::describe --map --input '[3000, 3000000]'
    """
    if target.startswith("-"):
        raise _unknown_option(target)
    if reload:
        given_too = {
            "Arguments": words or input_text is not None,
            "Option '--map'": is_map,
            "Option '--json'": as_json,
            "Option '--enforce'": enforce,
            "Option '--measure'": measure,
            "Option '--detach'": detach,
        }
        if other := next((name for name, is_given in given_too.items() if is_given), ""):
            raise click.UsageError(f"{other} cannot be given with '--reload'.")
        serving.serve_again(target, host, port)
        return
    with _standard_output(json=as_json) as stream:
        show = ResultPrinter(stream, as_json=as_json)
        function = with_own_block(load_target(target))
        given: arguments.Arguments = ((), {})
        items: Iterable[arguments.Arguments] = ()
        if is_map:
            _check_mapped(function, words, input_text, detach=detach)
            items = _refusing(lambda: arguments.parse_items(function, input_text or ""))
        else:
            given = parse(function, words, input_text)
        if host is not None:
            function = function.on(host)
        if enforce:
            function = function.on(enforcing(function.host))
        if port is not None:
            function = serving.at_port(function, port)
        if measure and (detach or serving.is_service(function)):
            raise click.UsageError("--measure is for calls that are waited for.")
        if detach:
            reference = start(function, given)
            if as_json:
                show({"reference": reference})
            else:
                print(reference, file=stream)
            return
        if serving.is_service(function):

            def tell(urls: Mapping[str, str]) -> None:
                if as_json:
                    show(dict(urls))
                else:
                    serving.show_urls(urls)

            serving.serve_once(function, given, tell)
            return
        progress = make_progress()
        try:
            with contextlib.ExitStack() as stack:
                if measure:
                    function = stack.enter_context(measured(function))
                called = stack.enter_context(shown(function, progress))
                if is_map:
                    call_all(called, items, show)
                else:
                    call(called, given, show)
        except BaseException as error:
            leaving = exit_of_function(error)
            if leaving is None:
                raise
            sys.stdout.flush()
            raise leaving from error


def parse(
    function: IsolatedFunction[..., Any], words: tuple[str, ...], input_text: str | None
) -> arguments.Arguments:
    """Return the arguments on the command line; what serves requests takes its arguments of them."""
    context = click.get_current_context()
    if function.options.gateway.get("serve"):
        if words and words[0].startswith("-"):
            raise _unknown_option(words[0])
        if words or input_text is not None:
            raise click.UsageError("A service takes its arguments of requests.", context)
        return (), {}
    if words and input_text is not None:
        raise click.UsageError("Give arguments as words or by --input, not both.", context)
    if input_text is not None:
        return _refusing(lambda: arguments.parse_json_arguments(function, input_text))
    return _refusing(lambda: arguments.parse_words(function, words))


def _refusing(read: Callable[[], _T]) -> _T:
    """Return what *read* returns; arguments that do not fit are a wrong command line."""
    context = click.get_current_context()
    try:
        return read()
    except arguments.UnknownArgument as error:
        hint = _hint_at_option(error.name, context) if context.params["words"] else ""
        raise click.UsageError(f"{error}{hint}", context) from None
    except arguments.ArgumentError as error:
        given = context.params
        looks_like_input = any(word.startswith(("{", "[")) for word in given["words"])
        is_misled = given["as_json"] and looks_like_input
        hint = " Arguments as JSON are given by '--input'." if is_misled else ""
        raise click.UsageError(f"{error}{hint}", context) from None


def _unknown_option(word: str) -> click.UsageError:
    """Return the error for *word*, which is no option of this command."""
    from difflib import get_close_matches

    context = click.get_current_context()
    name = word.partition("=")[0]
    options = [each for option in context.command.get_params(context) for each in option.opts]
    return click.NoSuchOption(name, possibilities=get_close_matches(name, options), ctx=context)


def _check_mapped(
    function: IsolatedFunction[..., Any],
    words: tuple[str, ...],
    input_text: str | None,
    *,
    detach: bool,
) -> None:
    """Check that *function* can be called for each item of an input."""
    context = click.get_current_context()
    if input_text is None or words:
        raise click.UsageError(
            "Option '--map' takes its items from '--input', and no other arguments.", context
        )
    if detach:
        raise click.UsageError("--map is for calls that are waited for.", context)
    if serving.is_service(function):
        raise click.UsageError("A service takes its arguments of requests.", context)
    if function.flavour.endswith("generator"):
        raise click.UsageError(
            "Option '--map' is for functions that return, and this one yields.", context
        )


def _hint_at_option(name: str, context: click.Context) -> str:
    """Return which option of the command was meant by *name*, which no argument has."""
    from difflib import get_close_matches

    options = [each for option in context.command.params for each in option.opts]
    near = get_close_matches(f"--{name}", options, 1, 0.8)
    return f" Did you mean the option {near[0]!r}?" if near else ""


def call(
    function: IsolatedFunction[..., Any], given: arguments.Arguments, show: ResultPrinter
) -> None:
    """Call *function* and show its result, or its items as they come."""
    args, kwargs = given
    if function.flavour.endswith("generator"):
        for item in function.stream(*args, **kwargs):
            show(item)
    else:
        show(function(*args, **kwargs))


def call_all(
    function: IsolatedFunction[..., Any],
    items: Iterable[arguments.Arguments],
    show: ResultPrinter,
) -> None:
    """Call *function* for each of *items*, and show the results in their order as they come."""
    from fal_core.batching.maps import Mapped

    results = Mapped(function.make_launcher(), arguments=items, progress=True)
    try:
        for result in results:
            show(result)
    except arguments.ArgumentError as error:
        # Lines are read as they come.
        raise click.UsageError(str(error)) from None
    finally:
        results.close()


def start(function: IsolatedFunction[..., Any], given: arguments.Arguments) -> str:
    """Start *function* detached from this process, and return its reference."""
    args, kwargs = given
    return function.with_policy(lifetime="detached").spawn(*args, **kwargs).reference


@contextlib.contextmanager
def _standard_output(*, json: bool) -> Iterator[IO[str]]:
    """Yield the stream for results; with *json*, anything else goes to standard error."""
    results = sys.stdout
    if not json:
        yield results
        return
    with contextlib.redirect_stdout(sys.stderr):
        yield results


_REMEDY = "Add --on local to run it on this machine."


def enforcing(host: Host[Any, Any]) -> Host[Any, Any]:
    """
    Return a host like *host* that holds calls to the limits of their machine types.

    Raises:
        UnsupportedError: It cannot.
    """
    found = host.ability(EnforcingHost)
    if found is not None:
        return found.enforcing()
    raise UnsupportedError(host.name, "hold calls to the limits of a machine type", _REMEDY)


@contextmanager
def measured(
    function: IsolatedFunction[..., Any],
) -> Iterator[IsolatedFunction[..., Any]]:
    """
    Give *function* on a host that measures, and print at the end what it has used.

    Raises:
        UnsupportedError: Its host measures nothing.
    """
    found = function.host.ability(MeasuringHost)
    if found is None:
        raise UnsupportedError(function.host.name, "measure calls", _REMEDY)
    host = found.measuring()
    try:
        yield function.on(host)
    finally:
        measuring = host.ability(MeasuringHost)
        usage = Usage() if measuring is None else measuring.read_usage()
        host.close()
        if usage.memory:
            # Else nothing has run.
            _print(describe(function, usage))


def describe(function: IsolatedFunction[..., Any], usage: Usage) -> str:
    """Return what *function* has used, in sentences."""
    parts = [
        f"{show_size(usage.memory)} of memory",
        f"{usage.processor_seconds:.2f} s of processors",
    ]
    if usage.gpu_memory is not None:
        parts.append(f"{show_size(usage.gpu_memory)} of GPU memory")
    fits = find_fitting(function, usage)
    if fits is None:
        last = "No installed plugin lists a machine type that is known to have as much."
    else:
        cpus = "" if fits.cpus is None else f", {fits.cpus:g} processors"
        memory = show_size(fits.memory or 0)
        last = f"The smallest machine type that fits is {fits.name!r} ({memory}{cpus})."
    return f"{function.declaration.name!r} used {', '.join(parts)} at most. {last}"


def find_fitting(function: IsolatedFunction[..., Any], usage: Usage) -> Machine | None:
    """
    Return the smallest machine with as many GPUs as *function* asks for, and with as much
    as it has used.
    """
    from fal_core.claims import wants_of
    from fal_core.declaring.vocabulary import structure_host_options

    wants = wants_of(structure_host_options(function.options, function.host))
    gpus = wants[0].count if wants else 0
    return smallest_machine(usage.memory, gpus=gpus, gpu_memory=usage.gpu_memory or 0)


def _print(sentence: str) -> None:
    from fal_core.events import Log
    from fal_core.sinks import print_log

    print_log(Log(sentence, "INFO", "BRIDGE"))
