"""Housekeeping: what a control plane renews and deletes every hour."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any

import attrs

from fal_server.errors import Fenced, ServerError
from fal_server.key_values.stored_values import StoredValues
from fal_server.listeners.certificates import Certificate
from fal_server.logs.logs import KEPT, Logs
from fal_server.store.blobs import Blobs
from fal_server.store.build_contexts import BuildContexts
from fal_server.store.kept_responses import KeptResponses
from fal_server.store.keys import delete_ended
from fal_server.store.queued_requests import KEPT as RESPONSES_KEPT
from fal_server.store.queued_requests import QueuedRequests
from fal_server.store.uploads import StoredFiles

logger = logging.getLogger(__name__)

#: Seconds between two rounds.
_ROUND = 3600.0

#: A clock that jumped by so many seconds from one round to the next was set.
_SET = 300.0


@attrs.frozen(kw_only=True, eq=False)
class Housekeeping:
    """Renews the certificate, and deletes what has expired."""

    certificate: Certificate
    blobs: Blobs
    stored_files: StoredFiles
    contexts: BuildContexts
    values: StoredValues
    requests: QueuedRequests
    responses: KeptResponses
    logs: Logs
    responses_kept: float = RESPONSES_KEPT

    async def run(self) -> None:
        """Do rounds until the task is cancelled."""
        offset = time.time() - time.monotonic()
        while True:
            try:
                self.certificate.renew()
            except (OSError, ServerError):
                # The certificate is valid for another month.
                logger.exception("The certificate could not be renewed")
            before, offset = offset, time.time() - time.monotonic()
            if abs(offset - before) < _SET:
                await self._drop()
            else:
                # What seems old may not be. A clock that stays so is trusted in the next round.
                logger.warning("The clock was set by %.0f seconds", offset - before)
            await asyncio.sleep(_ROUND)

    async def _drop(self) -> None:
        """Delete what has expired. What cannot be deleted keeps nothing else."""
        steps: dict[str, Callable[[], Awaitable[Any]]] = {
            "Abandoned uploads": lambda: asyncio.to_thread(self.blobs.drop_abandoned),
            "Expired files": self.stored_files.drop_expired,
            "Contents of no file": self.stored_files.drop_unused,
            "Directories of builds": lambda: asyncio.to_thread(self.contexts.drop_old),
            "Keys of ended sessions": lambda: self.requests.database.write(delete_ended),
            "Expired values": self.values.drop_expired,
            "Old requests": lambda: self.requests.delete_old(self.responses_kept),
            "Files of no request": self.responses.remove_leftovers,
            "Old log lines": lambda: self.logs.delete(before=time.time() - KEPT),
        }
        for name, step in steps.items():
            try:
                await step()
            except Fenced:
                # The new leader deletes it.
                return
            except Exception:
                logger.exception("%s could not be deleted", name)
