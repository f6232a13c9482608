"""Machine types that declarations name: whether they are written once, and anybody knows them."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

from fal_core.errors import OptionError
from fal_core.hosts import Host
from fal_core.machines import refuse_machine
from fal_core.options import Options

logger: logging.Logger = logging.getLogger("fal_core.declaring")

#: Options that name machine types, in two ways.
MACHINE_OPTIONS = ("machine_type", "machine_types")

# What this process has warned of.
_told: set[str] = set()


def check_machine_types(options: Options, host: Host[..., Any]) -> None:
    """
    Refuse machine types in *options* that nobody knows, or warn of them, once, where *host*
    may know others than the plugins.

    Raises:
        UnknownMachineError: A plugin lists machine types, and none knows one of these.

        OptionError: Where machine types are declared, something is wrong; or both options
            name some, or one names none.
    """
    _check_written(options)
    for name in _names_in(options):
        error = refuse_machine(name)
        if error is None:
            continue
        if not host.capabilities.own_machines:
            raise error
        if name not in _told:
            _told.add(name)
            logger.warning("%s Host %r is asked for it, and may know it.", error, host.name)


def _check_written(options: Options) -> None:
    written = [name for name in MACHINE_OPTIONS if options.host.get(name) is not None]
    if len(written) > 1:
        raise OptionError(
            "Options 'machine_type' and 'machine_types' both say which machines it may run on. "
            "Use one of them."
        )
    for option in written:
        named = options.host[option]
        names = (named,) if isinstance(named, str) else named
        if not names or not all(name.strip() for name in names):
            raise OptionError(
                f"Option {option!r} is {named!r}: name a machine type, or leave it out."
            )


def _names_in(options: Options) -> Iterator[str]:
    # They have been checked, so one that is no text is a list of texts.
    for option in MACHINE_OPTIONS:
        named = options.host.get(option)
        if named:
            yield from (named,) if isinstance(named, str) else named
