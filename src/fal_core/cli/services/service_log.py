"""
The log of a service, printed for people.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from typing import Any

from fal_core.cli.outputs import is_terminal, styled
from fal_core.events import Log
from fal_core.sinks.printing import node_prefix, print_log

_COLOURS = {2: "green", 3: "cyan", 4: "yellow", 5: "red"}


class ServiceLog:
    """
    Prints the lines of a service as they come, except those that tell why it cannot start.

    The error of the service repeats those, so they wait until they are released.
    """

    def __init__(self) -> None:
        self._kept: list[Log] | None = []
        # Lines come on another thread than the one that releases them.
        self._lock = threading.Lock()

    def __call__(self, log: Log) -> None:
        """
        Print a line, or keep it.
        """
        with self._lock:
            if self._kept is not None and _tells_where(log):
                self._kept.append(log)
                return
        show_line(log)

    def release(self) -> None:
        """
        Print the kept lines, and keep no more.
        """
        with self._lock:
            kept, self._kept = self._kept, None
        for log in kept or ():
            show_line(log)


def _tells_where(log: Log) -> bool:
    facts = _facts_of(log)
    return facts is not None and ("traceback" in facts or "stack" in facts)


def _facts_of(log: Log) -> dict[str, Any] | None:
    """
    Return the object in a line of JSON; None where there is none.
    """
    if not log.message.startswith("{"):
        return None
    try:
        facts = json.loads(log.message)
    except (ValueError, RecursionError):
        return None
    return facts if isinstance(facts, dict) else None


def show_line(log: Log) -> None:
    """
    Print a line; on a terminal a line of JSON becomes a sentence.
    """
    facts = _facts_of(log) if is_terminal(sys.stderr) else None
    if facts is None:
        print_log(log)
        return
    sys.stderr.write(f"{node_prefix(log)}{_sentence(log, facts)}\n")
    sys.stderr.flush()


def _sentence(log: Log, facts: dict[str, Any]) -> str:
    clock = time.strftime("%H:%M:%S", time.localtime(log.time))
    if "traceback" in facts:
        which = f"Request {facts['request_id']}: " if facts.get("request_id") else ""
        return f"{clock} {which}{str(facts['traceback']).rstrip()}"
    if "status" not in facts or "path" not in facts:
        shown = "  ".join(f"{name}={value}" for name, value in facts.items() if name != "time")
        return f"{clock} {shown}"
    status = int(facts["status"] or 0)
    number = styled(str(status), sys.stderr, fg=_COLOURS.get(status // 100, "white"))
    took = f"{float(facts.get('milliseconds') or 0):.1f} ms"
    request = styled(str(facts.get("request_id", "")), sys.stderr, dim=True)
    return f"{clock} {facts.get('method', '')} {facts['path']} {number} {took} {request}"
