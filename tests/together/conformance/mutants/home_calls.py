"""Hosts that break the laws of home calls."""

from __future__ import annotations

import threading
from typing import Any

from fal_core.calls import Call
from fal_core.errors import UnsupportedError
from fal_core.events import Event, Exited, HomeCall, Message, Reply, Sealed, Sink
from fal_core.hosts import Execution
from fal_core.pools import Start
from fal_core.workers import Worker
from fal_core_worker.opening.seals import PLAIN_PREFIX
from fal_host_local import LocalHost
from mutants.wrappers import Broken, Passing, drop


class RefusesHome(Broken):
    """Knows no way home."""

    def take(self, event: Event, passing: Passing) -> None:
        if isinstance(event, HomeCall):
            passing.ended = True
            passing.send_on(Exited(reason=UnsupportedError("local", "call home")))
            passing.send_on = drop  # type: ignore[method-assign]  # broken
            threading.Timer(0.1, lambda: passing.inner.cancel(0)).start()
            return
        passing.send_on(event)


class HidesErrorsAtHome(Broken):
    """Answers with None where a call at home raised."""

    def launch(self, call: Call, sink: Sink) -> Execution:
        passing: Any = super().launch(call, sink)
        send = passing.send

        def changed(message: Message) -> None:
            if isinstance(message, Reply) and message.raised:
                message = Reply(message.number, Sealed(PLAIN_PREFIX + b"N."))
            send(message)

        passing.send = changed
        return passing  # type: ignore[no-any-return]  # an execution, and more


class LeavesNoRoom(LocalHost):
    """Counts workers that wait for a call at home among those at work."""

    def begin(self, start: Start) -> Worker:
        worker = super().begin(start)
        serve_for: Any = worker.serve_for

        def changed(owner: Any, **options: Any) -> None:
            owner.call_away = lambda change: None
            serve_for(owner, **options)

        worker.serve_for = changed  # type: ignore[method-assign]  # broken
        return worker
