"""A host for the tests of environments: each call runs in a process of its own."""

from __future__ import annotations

import os
from typing import Any, ClassVar

import attrs

from fal_core.hosts import Capabilities
from fal_core.pools import Start, WorkerHost
from fal_core.workers import ARGUMENTS, Worker


@attrs.define(eq=False, slots=False)
class ProcessHost(WorkerHost[..., Any]):
    """Builds the environment of a call and starts its interpreter, once for each call."""

    name: ClassVar[str] = "process"
    capabilities: ClassVar[Capabilities] = Capabilities.of_workers(
        kinds=None, concurrency=os.cpu_count() or 1
    )

    def begin(self, start: Start) -> Worker:
        return Worker.start(start.build().command(ARGUMENTS))
