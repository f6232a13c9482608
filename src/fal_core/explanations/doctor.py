"""The checks of ``fal-core doctor``: the core's own, and those of plugins."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from functools import partial

from fal_core.caches import CACHE_VARIABLE, ForeignCache, cache_directory, cache_root
from fal_core.checks import Check, Finding
from fal_core.environments import OLDEST_PYTHON
from fal_core.errors import FalCoreError
from fal_core.plugins.installed import load_plugins
from fal_core.reprs import in_one_line

#: Seconds that a call on this machine may take, a new worker included.
PATIENCE = 30.0


def core_checks() -> tuple[Check, ...]:
    """Return the checks of the core."""
    return (
        Check("python", check_python),
        Check("cache", check_cache),
        Check("plugins", check_plugins),
        Check("call", check_call),
    )


def all_checks() -> Iterator[Check]:
    """
    Yield the checks of the core, and those of the plugins.

    A plugin that fails to list its checks gets one that says so.
    """
    yield from core_checks()
    for name, ask in load_plugins().hooks.each("fal_health_checks"):
        try:
            checks = [check for answer in ask() for check in answer]
        except Exception as error:
            sentence = f"Plugin {name!r} cannot list its checks: {in_one_line(error)}."
            checks = [Check(name, partial(Finding, False, sentence))]
        yield from checks


def run_check(check: Check) -> Finding:
    """Run *check* and return its finding; an exception is a finding too."""
    try:
        return check.run()
    except Exception as error:
        said = f"{type(error).__name__}: {in_one_line(error)}"
        return Finding(False, f"The check failed: {said}.")


def check_python() -> Finding:
    """Check that fal-core supports this version of Python."""
    version = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info < OLDEST_PYTHON:
        oldest = ".".join(map(str, OLDEST_PYTHON))
        return Finding(
            False, f"This is Python {version}. Use {oldest} or newer: fal-core needs it."
        )
    return Finding(True, f"Python {version} at {sys.executable}.")


def check_cache() -> Finding:
    """Check that the cache directory can be written, and belongs to this user."""
    root = cache_root()
    path = os.path.join(root, f"written-by-doctor.{os.getpid()}")
    try:
        cache_directory(make=True)
        with open(path, "w", encoding="utf-8") as file:
            file.write("It can be removed.\n")
        os.remove(path)
    except ForeignCache as error:
        return Finding(False, str(error))
    except OSError as error:
        return Finding(
            False,
            f"{root} cannot be written: {error.strerror}. "
            f"Name another directory in the variable {CACHE_VARIABLE}.",
        )
    return Finding(True, f"{root} can be written.")


def check_plugins() -> Finding:
    """Check that all plugins can be loaded."""
    plugins = load_plugins()
    if plugins.broken:
        return Finding(False, " ".join(map(str, plugins.broken)))
    names = ", ".join(plugin.entry.name for plugin in plugins.loaded)
    return Finding(True, f"{len(plugins.loaded)} loaded: {names}.")


def check_call() -> Finding:
    """Check that a function can be called on this machine."""
    from fal_core.decorators import function

    began = time.perf_counter()
    try:
        answer = function("current", host="local", timeout=PATIENCE)(_answer)()
    except FalCoreError as error:
        return Finding(False, f"A call on this machine failed: {error}")
    took = time.perf_counter() - began
    if answer != 42:
        return Finding(False, f"A call on this machine returned {answer!r} and not 42.")
    return Finding(True, f"A call on this machine took {took:.2f} s, with a new worker.")


def _answer() -> int:
    return 42
