"""The disk reserve: room on the disk that is kept for clients with a key."""

from __future__ import annotations

import logging
import shutil
import time
from pathlib import Path

from fal_server.errors import Refusal
from fal_server.limits import option_of, write_size

logger = logging.getLogger(__name__)

#: The default: a part of the disk, and the bytes that it has at least.
_PART, _LEAST = 0.05, 1 << 30

#: Seconds before the disk is looked at again, and before it is logged again.
_AGAIN, _QUIET = 1.0, 60.0


class DiskReserved(Refusal):
    """What is left on the disk is kept for clients with a key."""

    status = "RESOURCE_EXHAUSTED"
    http = 507


class DiskReserve:
    """
    The room that is kept on the disk of one folder.

    Arguments:
        least: The bytes that stay free. None for a twentieth of the disk, and at least 1G.
    """

    def __init__(self, folder: Path, least: int | None = None) -> None:
        self._folder = folder
        self._least = least
        self._looked_at = self._logged_at = float("-inf")
        self._is_reached = False

    def check(self) -> None:
        """
        Check that there is room for what a client without a key stores.

        Raises:
            DiskReserved: There is none.
        """
        now = time.monotonic()
        if now - self._looked_at >= _AGAIN:
            self._looked_at = now
            self._look(now)
        if self._is_reached:
            raise DiskReserved(
                "The disk of the server is almost full, and takes nothing from clients without "
                "a key. Send the request with a key, or try again later."
            )

    def _look(self, now: float) -> None:
        disk = shutil.disk_usage(self._folder)
        least = self._least
        if least is None:
            least = max(int(disk.total * _PART), _LEAST)
        self._is_reached = disk.free < least
        if self._is_reached and now - self._logged_at >= _QUIET:
            self._logged_at = now
            logger.warning(
                "Only %d bytes are free on the disk of %s, of which %s are kept for clients "
                "with a key. No queued request without a key is accepted: %s",
                disk.free,
                self._folder,
                write_size(least),
                option_of("disk_reserve"),
            )
