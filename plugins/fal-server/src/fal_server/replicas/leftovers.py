"""Leftovers: runners of this machine that the replica which decides cannot reach."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from typing import Any

import attrs

from fal_core.abilities import DetachingHost, IsolatingHost
from fal_core.errors import FalCoreError
from fal_core.events import Event, Exited
from fal_core.hosts import Host
from fal_core.plugins import make_host
from fal_server.errors import Refusal
from fal_server.state.tasks import Tasks
from fal_server.store.runner_records import RunnerRecord, RunnerRecords

logger = logging.getLogger(__name__)

#: Seconds between two looks, and those that a runner has to end by itself: nobody waits for
#: the requests that it has.
_LOOK, _LONGEST = 2.0, 5.0


@attrs.define(eq=False)
class Leftovers:
    """Ends the runners of this machine while a replica on another one decides, and records that."""

    records: RunnerRecords
    machine: str
    _ending: set[str] = attrs.field(factory=set)
    _tasks: Tasks = attrs.field(factory=Tasks)
    _hosts: dict[str, Host[Any, Any]] = attrs.field(factory=dict)

    async def watch(self, is_elsewhere: Callable[[], bool]) -> None:
        """End them while *is_elsewhere* says that another machine decides, until it is cancelled."""
        try:
            while True:
                await asyncio.sleep(_LOOK)
                if is_elsewhere():
                    await self._look()
        finally:
            await self._tasks.close()
            for host in self._hosts.values():
                await asyncio.to_thread(host.close)

    async def _look(self) -> None:
        try:
            found = await self.records.unfinished()
            for record in found:
                if record.machine == self.machine and record.id not in self._ending:
                    self._ending.add(record.id)
                    await self._end(record)
        except Refusal:
            # The state cannot be read at present.
            return

    async def _end(self, record: RunnerRecord) -> None:
        loop = asyncio.get_running_loop()
        name = record.host or "local"
        if name not in self._hosts:
            self._hosts[name] = await asyncio.to_thread(make_host, name)
        host = self._hosts[name]
        detaching = host.ability(DetachingHost)
        if detaching is None or host.ability(IsolatingHost) is None:
            return
        ended = threading.Event()

        def take(event: Event) -> None:
            if isinstance(event, Exited) and not ended.is_set():
                ended.set()
                loop.call_soon_threadsafe(self._record, record)

        try:
            execution = await asyncio.to_thread(detaching.attach, record.reference, take)
        except FalCoreError:
            self._record(record)
            return
        logger.warning(
            "Runner %s of %s ends, as a replica on another machine decides.",
            record.id,
            record.alias,
        )
        execution.drain()
        loop.call_later(_LONGEST, execution.cancel, 0.0)

    def _record(self, record: RunnerRecord) -> None:
        async def write() -> None:
            try:
                await self.records.end(record.id, fenced=False)
            except Refusal:
                # It is looked at again.
                self._ending.discard(record.id)

        self._tasks.spawn(write())
