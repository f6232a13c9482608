"""
Machine types that declarations name: whether anybody knows them.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

from fal_core.hosts import Host
from fal_core.machines import refuse_machine
from fal_core.options import Options

logger = logging.getLogger("fal_core.declaring")

# What this process has warned of.
_told: set[str] = set()


def check_machine_types(options: Options, host: Host[..., Any]) -> None:
    """
    Refuse machine types in *options* that nobody knows, or warn of them, once, where *host*
    may know others than the plugins.

    Raises:
        UnknownMachineError: A plugin lists machine types, and none knows one of these.

        OptionError: Where machine types are declared, something is wrong.
    """
    for name in _names_in(options):
        error = refuse_machine(name)
        if error is None:
            continue
        if not host.capabilities.own_machines:
            raise error
        if name not in _told:
            _told.add(name)
            logger.warning("%s Host %r is asked for it, and may know it.", error, host.name)


def _names_in(options: Options) -> Iterator[str]:
    # They have been checked, so one that is no text is a list of texts.
    for option in ("machine_type", "machine_types"):
        named = options.host.get(option)
        if named:
            yield from (named,) if isinstance(named, str) else named
