"""
Preconditions: why a host refuses a function before anything is built or sent, and which of
its options have no effect there.

A call raises the first of these errors; ``fal-core explain`` shows all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any
from weakref import WeakKeyDictionary

import attrs

from fal_core.abilities import AnticipatingHost, ConditionalHost
from fal_core.declaring import vocabulary
from fal_core.declaring.declaration import Declaration
from fal_core.environments import THIS_PYTHON, Environment, is_within
from fal_core.errors import FalCoreError, OptionError, PluginError, UnsupportedError
from fal_core.hosts import Host
from fal_core.machines import refuse_machine, resolve_machine
from fal_core.options import Gateway, HostOptions, Options

# For each function the hosts and options that this process has warned of.
_told: WeakKeyDictionary[Any, set[tuple[str, str]]] = WeakKeyDictionary()


def for_machine(environment: Environment, options: HostOptions) -> Environment:
    """
    Return *environment* as it is built for the machine type of *options*: of several the
    first. It stays as it is without a machine type, and for one that no plugin knows.
    """
    wanted = options.machine_names
    if not wanted or type(environment).for_machine is Environment.for_machine:
        return environment
    try:
        machine = resolve_machine(wanted[0])
    except (OptionError, PluginError):
        return environment
    if options.num_gpus is not None:
        machine = attrs.evolve(machine, gpus=options.num_gpus)
    return environment.for_machine(machine)


def environment_for(options: Options, host: Host[..., Any]) -> Environment:
    """
    Return the environment of *options* as it is built for a call on *host*.

    Raises:
        OptionError: One of the options has a wrong type or value.
    """
    environment = vocabulary.structure_environment(options)
    return for_machine(environment, vocabulary.structure_host_options(options, host))


def refusals(
    declaration: Declaration,
    environment: Environment,
    options: HostOptions,
    gateway: Gateway,
) -> Iterator[FalCoreError]:
    """Yield an error for each reason why the host would not run the declared function."""
    host = declaration.host
    can = host.capabilities
    if can.kinds is not None and environment.kind not in can.kinds:
        remedy = _said(can.kinds)
        if "virtualenv" in can.kinds:
            remedy += _written_in(declaration)
        yield UnsupportedError(host.name, f"run kind {environment.kind!r}", remedy)
    python = _python_of(environment)
    if can.python_versions is not None and not any(
        is_within(python, version) or is_within(version, python)
        for version in can.python_versions
    ):
        listed = ", ".join(can.python_versions)
        yield UnsupportedError(host.name, f"run Python {python}", f"It runs {listed}.")
    if gateway.serve:
        if not can.serve:
            yield UnsupportedError(host.name, "serve functions")
    elif declaration.is_generator and not can.stream:
        remedy = "Return a list, or serve the function." if can.serve else "Return a list."
        yield UnsupportedError(host.name, "stream what a generator yields", remedy)
    if options.nodes is not None and options.nodes > can.nodes:
        yield UnsupportedError(
            host.name,
            f"run a call on {options.nodes} nodes",
            f"It runs each on {can.nodes} at most: write fewer, or use a host that has more."
            if can.nodes > 1
            else "It runs each on one: leave 'nodes' out, or use a host that has more.",
        )
    if not can.own_machines:
        # They may have been changed since the function was declared.
        unknown = (refuse_machine(name) for name in options.machine_names)
        yield from filter(None, unknown)
    if options.secrets and not can.secrets:
        yield UnsupportedError(host.name, "resolve secrets")
    if declaration.policy.on_unsupported == "error":
        unsupported = find_unsupported(declaration.options, host, options, environment)
        if unsupported:
            remedy = "Leave it out, or write on_unsupported='warn' to keep it for other hosts."
            reasons = dict.fromkeys(filter(None, unsupported.values()))
            yield UnsupportedError(
                host.name,
                f"use option {', '.join(map(repr, unsupported))}",
                " ".join((*reasons, remedy)),
            )
    try:
        host.check(environment, options, gateway, _origin(declaration, options))
    except FalCoreError as error:
        yield error
    except Exception as error:
        from fal_core.sinks.breaches import failure_of

        yield failure_of(host.name, "check", error)


def find_unsupported(
    written: Options, host: Host[..., Any], options: HostOptions, environment: Environment
) -> Mapping[str, str]:
    """
    Return the options that are set and that *host* does not act on, each with the reason as
    a sentence; empty where the host never acts on it.

    Arguments:
        options: What *written* means.
    """
    found = dict.fromkeys(vocabulary.unusable_options(written, host), "")
    conditional = host.ability(ConditionalHost)
    if conditional is not None:
        found |= conditional.unmet(options, environment)
    return found


def warn_of_unsupported(
    declaration: Declaration, options: HostOptions, environment: Environment
) -> None:
    """Print once for each function which of its options its host does not act on."""
    if declaration.policy.on_unsupported == "ignore":
        return
    host = declaration.host
    found = find_unsupported(declaration.options, host, options, environment)
    names = _untold(declaration.raw_func, host.name, found) if found else ()
    never = [name for name in names if not found[name]]
    if never:
        _warn(
            f"Host {host.name!r} does not use option {', '.join(map(repr, never))} "
            f"of {declaration.name!r}; kept for hosts that do."
        )
    for reason in dict.fromkeys(found[name] for name in names if found[name]):
        named = ", ".join(repr(name) for name in names if found[name] == reason)
        _warn(
            f"Host {host.name!r} does not use option {named} of {declaration.name!r}: {reason}"
        )


def announce(
    host: Host[..., Any],
    environment: Environment,
    options: HostOptions,
    gateway: Gateway,
    func: Callable[..., Any],
) -> None:
    """
    Tell *host* that a first call of *func* is about to come. What it raises is logged: the call
    itself says what is wrong.
    """
    anticipating = host.ability(AnticipatingHost)
    if anticipating is None:
        return
    origin = None
    if environment.isolates_files:
        # Slow to import.
        from fal_core.sealing.sources import file_of

        origin = file_of(func)
    try:
        anticipating.expect(environment, options, gateway, origin)
    except Exception as error:
        from fal_core.sinks.breaches import log_breach, raised_in_expect

        log_breach(host.name, raised_in_expect(error))


def refuse_detached(host: Host[..., Any]) -> UnsupportedError | None:
    """Return why no detached work can be spawned on *host*; None if it can."""
    if host.capabilities.detach:
        return None
    return UnsupportedError(host.name, "detach work from its caller")


def check_detaching(host: Host[..., Any]) -> None:
    """
    Refuse to spawn detached work on a *host* that detaches none.

    Raises:
        UnsupportedError: It does not.
    """
    if refusal := refuse_detached(host):
        raise refusal


def _warn(sentence: str) -> None:
    from fal_core.events import Log
    from fal_core.sinks.printing import print_log

    print_log(Log(sentence, "WARNING", "BRIDGE"))


def _untold(function: Any, host: str, names: Iterable[str]) -> tuple[str, ...]:
    """Return those of *names* that no warning was printed for, and note that one is now."""
    try:
        told = _told.setdefault(function, set())
    except TypeError:
        # A callable without a hash, or without weak references.
        told = _told.setdefault(type(function), set())
    untold = tuple(name for name in names if (host, name) not in told)
    told.update((host, name) for name in untold)
    return untold


def _python_of(environment: Environment) -> str:
    """Return the version of Python that *environment* wants, as in ``3.11``."""
    version: str | None = getattr(environment, "python_version", None)
    return version or THIS_PYTHON


def _said(kinds: frozenset[str]) -> str:
    if kinds:
        return f"It runs {', '.join(sorted(kinds))}."
    return "Its capabilities claim no kind: they say kinds=None where it runs every kind."


def _written_in(declaration: Declaration) -> str:
    """Return where the kind was declared, and what to write there, as a sentence."""
    code = getattr(declaration.raw_func, "__code__", None)
    place = "" if code is None else f"In {code.co_filename}, line {code.co_firstlineno}, "
    write = "write 'virtualenv', with the packages that it imports as requirements=[…]."
    return f" {place}{write}" if place else f" W{write[1:]}"


def _origin(declaration: Declaration, options: HostOptions) -> str | None:
    """Return the file of the function if it names secrets, which may lie beside it."""
    if not options.secrets or declaration.raw_func is None:
        return None
    # It imports cloudpickle, which others do while a worker starts.
    from fal_core.sealing.sources import file_of

    return file_of(declaration.raw_func)
