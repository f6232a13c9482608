"""
Unsupported options: those that a host does not act on, and what its user is told of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from fal_core.abilities import ConditionalHost
from fal_core.declaring import vocabulary

if TYPE_CHECKING:
    from fal_core.declaring.declaration import Declaration
    from fal_core.hosts import Host
    from fal_core.options import HostOptions, Options

# For each function the hosts and options that this process has warned of.
_told: WeakKeyDictionary[Any, set[tuple[str, str]]] = WeakKeyDictionary()


def find_unsupported(
    written: Options, host: Host[..., Any], options: HostOptions
) -> Mapping[str, str]:
    """
    Return the options that are set and that *host* does not act on, each with the reason as
    a sentence; empty where the host never acts on it.

    Arguments:
        options: What *written* means.
    """
    found = dict.fromkeys(vocabulary.unusable_options(written, host), "")
    if isinstance(host, ConditionalHost):
        found |= host.unmet(options)
    return found


def warn_of_unsupported(declaration: Declaration, options: HostOptions) -> None:
    """
    Print once for each function which of its options its host does not act on.
    """
    if declaration.policy.on_unsupported == "ignore":
        return
    host = declaration.host
    found = find_unsupported(declaration.options, host, options)
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


def _warn(sentence: str) -> None:
    from fal_core.events import Log
    from fal_core.sinks.printing import print_log

    print_log(Log(sentence, "WARNING", "BRIDGE"))


def _untold(function: Any, host: str, names: Iterable[str]) -> tuple[str, ...]:
    """
    Return those of *names* that no warning was printed for, and note that one is now.
    """
    try:
        told = _told.setdefault(function, set())
    except TypeError:
        # A callable without a hash, or without weak references.
        told = _told.setdefault(type(function), set())
    untold = tuple(name for name in names if (host, name) not in told)
    told.update((host, name) for name in untold)
    return untold
