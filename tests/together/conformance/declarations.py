"""Declarations of broken hosts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
from mutants.wrappers import Selects

from fal_core.hosts import Host
from fal_host_local import LocalHost
from fal_testing import InProcessHost

Make = Callable[[], Host[..., Any]]


@attrs.frozen
class Mutant:
    """
    A broken host.

    Attributes:
        name: The name of its fault.

        make: Makes one.

        breaks: The laws that it breaks. One that is there for a law alone breaks no other.

        of: The functions that it is broken for; of all where empty.
    """

    name: str
    make: Make
    breaks: tuple[str, ...]
    of: frozenset[str] = frozenset()


def alone(
    cls: Make, breaks: str, *, of: str = "", whole: Make = LocalHost, name: str = ""
) -> Mutant:
    """
    Declare a broken host that is a whole one; laws are named with blanks between.

    Arguments:
        of: The functions that it is broken for, with blanks between: of all where empty.

        whole: Makes the host that runs all others.
    """
    name = name or getattr(cls, "__name__", str(cls))
    if not of:
        return Mutant(name, cls, tuple(breaks.split()))
    names = frozenset(of.split())
    return Mutant(
        f"{name}-of-{'-'.join(sorted(names))}",
        lambda: Selects(cls(), whole(), names),
        tuple(breaks.split()),
        names,
    )


def in_process(cls: Make, breaks: str, *, of: str) -> Mutant:
    """Declare a broken host that runs the functions *of* in the process of the test."""
    return alone(cls, breaks, of=of, whole=InProcessHost)


def around(
    cls: Callable[..., Host[..., Any]],
    breaks: str,
    *args: Any,
    of: str = "",
    inner: Make = LocalHost,
) -> Mutant:
    """Declare a broken host around another, made with *args*."""
    words = [cls.__name__, *(getattr(arg, "__name__", str(arg)) for arg in args)]
    if inner is not LocalHost:
        words.append(inner.__name__)
    return alone(lambda: cls(inner(), *args), breaks, of=of, whole=inner, name="-".join(words))
