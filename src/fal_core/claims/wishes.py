"""
Wishes: the devices that somebody waits for, held by any process of the machine.

A process that waits holds a shared lock on a file for each device, so nothing is left of a
wish whose process has ended.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from fal_core.claims.failures import ClaimsUnavailable
from fal_core.claims.places import lock_file, name_of, open_directory, release

if TYPE_CHECKING:
    from typing_extensions import Self


class Wishes:
    """The devices *uuids* that a call waits for, until the end of the context."""

    def __init__(self, uuids: Collection[str]) -> None:
        self.uuids = uuids
        self._left = {_name(uuid) for uuid in uuids}
        self._held: list[int] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for descriptor in self._held:
            release(descriptor)

    def tell(self) -> None:
        """
        Let those know who have the devices. It is repeated: some may be just looking.

        Raises:
            ClaimsUnavailable: The directory of claims cannot be used.
        """
        if not self._left:
            return
        with open_directory() as directory:
            for name in list(self._left):
                descriptor = lock_file(directory, name, shared=True)
                if descriptor is not None:
                    self._held.append(descriptor)
                    self._left.discard(name)


def wanted_devices(uuids: Collection[str]) -> set[str]:
    """Return those of the devices *uuids* that somebody waits for."""
    wanted = set()
    try:
        with open_directory() as directory:
            for uuid in uuids:
                descriptor = lock_file(directory, _name(uuid), shared=False)
                if descriptor is None:
                    wanted.add(uuid)
                else:
                    release(descriptor)
    except ClaimsUnavailable:
        # A process that claims devices is told.
        return set()
    return wanted


def _name(uuid: str) -> str:
    return f"{name_of(uuid).removesuffix('.lock')}.wanted.lock"
