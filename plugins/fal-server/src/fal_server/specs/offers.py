"""Offers: what a server runs of what requests ask for."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

import attrs

from fal_server.specs.kinds import check_kinds
from fal_server.specs.machine_types import check_machine_types


@attrs.frozen(kw_only=True)
class Offers:
    """
    What a server runs.

    Attributes:
        kinds: The kinds of environments. Empty for all that are installed.

        machine_types: Machine types that it knows beside those of its plugins.
    """

    kinds: Collection[str] = ()
    machine_types: Collection[str] = ()

    def check(self, requirements: Any, environments: Iterable[Any] = ()) -> None:
        """
        Refuse a request for what is not run here.

        Arguments:
            requirements: The message that names its machine types.

            environments: The messages that describe its environments.

        Raises:
            Invalid: A kind is not run, or a machine type not known.
        """
        check_kinds(environments, self.kinds)
        check_machine_types(requirements, self.machine_types)
