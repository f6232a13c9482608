"""The options of functions on this machine."""

from __future__ import annotations

import attrs

from fal_core.options import HostOptions
from fal_core.reprs import show_fields
from fal_core.validators import at_least


@attrs.frozen(kw_only=True)
class LocalOptions(HostOptions):
    """
    The options of functions on this host.

    Attributes:
        wait: How many seconds a call waits for GPUs that others hold. For as long as it
            takes by default.
    """

    __repr__ = show_fields

    wait: float | None = attrs.field(default=None, validator=at_least(0))


def asks_for_devices(options: HostOptions) -> bool:
    """Tell whether calls with *options* may need devices."""
    return bool(options.machine_names) or options.num_gpus is not None


@attrs.frozen(kw_only=True)
class Terms:
    """
    How a host treats its workers.

    Attributes:
        wait: Seconds that calls wait for GPUs where their options do not say. None for as
            long as it takes.

        enforce: Whether workers keep to the limits of the machine type.

        network: Whether they have a network.

        measure: Whether what they use is measured.
    """

    wait: float | None = None
    enforce: bool = False
    network: bool = True
    measure: bool = False
