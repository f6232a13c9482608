"""Hosts that break the laws of observers."""

from __future__ import annotations

from fal_core.calls import Call
from fal_core.events import Sink
from fal_core.hosts import Execution
from fal_core.plugins.installed import load_plugins
from mutants.wrappers import Broken


class TellsObserversItself(Broken):
    """Calls the hooks of observers on its own."""

    def launch(self, call: Call, sink: Sink) -> Execution:
        for _, tell in load_plugins().hooks.each("fal_call_started"):
            tell(call=call, host=self, count=1)
        return super().launch(call, sink)
