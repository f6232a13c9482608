"""Scaling: how many runners an application should have."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import attrs

from fal_server.errors import Invalid
from fal_server.specs.machine_types import named_types

#: Settings that clients send under another name.
_SPELLINGS = {"scaling_delay_seconds": "scaling_delay", "valid_regions": "regions"}

#: Limits that clients clear with 0.
_CLEARABLE = frozenset(
    {"max_concurrency", "request_timeout", "request_start_timeout", "startup_timeout"}
)

#: Settings that belong to the code: each revision brings its own. The others belong to the
#: application, and stay when it is deployed again.
_OF_REVISIONS = ("machine_types", "max_multiplexing", "startup_timeout")


@attrs.frozen(kw_only=True)
class Scaling:
    """
    The settings of an application that decide how many runners it has.

    Times are in seconds.

    Attributes:
        min_concurrency: The fewest runners.

        max_concurrency: The most runners. None for no limit.

        max_multiplexing: The most requests that one runner has at once.

        concurrency_buffer: How many runners to have in addition to the busy ones.

        concurrency_buffer_perc: The same in percent of the busy runners; the larger of the
            two counts.

        keep_alive: How long a runner stays without a request.

        scaling_delay: How long a request waits for the present runners before another is
            started for it.

        request_timeout: How long one request may take. None for no limit.

        request_start_timeout: How long a request may wait for a runner. None for no limit.

        startup_timeout: How long a runner may take to become ready. None for no limit.
    """

    min_concurrency: int = 0
    max_concurrency: int | None = None
    max_multiplexing: int = 1
    concurrency_buffer: int = 0
    concurrency_buffer_perc: int = 0
    keep_alive: float = 10.0
    scaling_delay: float = 0.0
    request_timeout: float | None = None
    request_start_timeout: float | None = None
    startup_timeout: float | None = None
    machine_types: tuple[str, ...] = ()
    regions: tuple[str, ...] = ()

    def changed(self, message: Any) -> Scaling:
        """
        Return these settings with the changes in *message*.

        Raises:
            Invalid: A number is out of range.
        """
        changes: dict[str, Any] = {}
        for descriptor in message.DESCRIPTOR.fields:
            name = _SPELLINGS.get(descriptor.name, descriptor.name)
            if name not in _NAMES:
                continue
            value = getattr(message, descriptor.name)
            if name in ("machine_types", "regions"):
                chosen = named_types(message) if name == "machine_types" else tuple(value)
                if chosen:
                    changes[name] = chosen
            elif message.HasField(descriptor.name):
                if value < 0:
                    raise Invalid(f"{descriptor.name} must not be negative, and is {value}.")
                changes[name] = None if name in _CLEARABLE and not value else value
        return attrs.evolve(self, **changes).checked()

    def with_revision(self, declared: Scaling) -> Scaling:
        """
        Return these settings, of an application, for a revision that declares others.

        Raises:
            Invalid: They are not consistent.
        """
        brought = {name: getattr(declared, name) for name in _OF_REVISIONS}
        return attrs.evolve(self, **brought).checked()

    def checked(self) -> Scaling:
        """
        Return these settings if they are consistent.

        Raises:
            Invalid: They are not.
        """
        if self.max_multiplexing < 1:
            raise Invalid(
                f"max_multiplexing must be at least 1, and is {self.max_multiplexing}."
            )
        if self.max_concurrency is not None and self.min_concurrency > self.max_concurrency:
            raise Invalid(
                f"min_concurrency ({self.min_concurrency}) is more than max_concurrency "
                f"({self.max_concurrency})."
            )
        return self

    @property
    def is_buffered(self) -> bool:
        """Whether there should be more runners than busy ones."""
        return self.concurrency_buffer > 0 or self.concurrency_buffer_perc > 0

    def busy(self, demand: int) -> int:
        """Return how many runners *demand* simultaneous requests occupy."""
        return math.ceil(demand / self.max_multiplexing)

    def buffer(self, busy: int) -> int:
        """Return how many runners there should be in addition to *busy* ones."""
        share = math.ceil(busy * self.concurrency_buffer_perc / 100)
        return max(self.concurrency_buffer, share)

    def target(self, demand: int) -> int:
        """Return how many runners there should be for *demand* simultaneous requests."""
        busy = self.busy(demand)
        wanted = max(self.min_concurrency, busy + self.buffer(busy))
        return wanted - self.surplus(wanted)

    def surplus(self, runners: int) -> int:
        """Return how many of so many *runners* are more than there may be."""
        return 0 if self.max_concurrency is None else max(0, runners - self.max_concurrency)

    def to_json(self) -> dict[str, Any]:
        """Return the settings as a JSON object."""
        return attrs.asdict(self)

    @classmethod
    def from_json(cls, kept: Mapping[str, Any]) -> Scaling:
        """
        Return the settings from the object that :meth:`to_json` made. Settings that this
        version does not know are ignored.
        """
        known = {name: value for name, value in kept.items() if name in _NAMES}
        for name in ("machine_types", "regions"):
            known[name] = tuple(known.get(name) or ())
        return cls(**known)


_NAMES = frozenset(field.name for field in attrs.fields(Scaling))

#: The settings of a deployed application that declares none.
_DEPLOYED = Scaling(max_concurrency=2, request_timeout=3600, startup_timeout=600)


def read_deployed(machine: Any) -> Scaling:
    """
    Return the settings that a registration declares, with those that it leaves out filled in.

    Arguments:
        machine: The message with its machine requirements.

    Raises:
        Invalid: They are not consistent.
    """
    scaling = _DEPLOYED
    if not machine.HasField("max_concurrency"):
        fewest = max(scaling.max_concurrency or 0, machine.min_concurrency)
        scaling = attrs.evolve(scaling, max_concurrency=fewest)
    return scaling.changed(machine)
