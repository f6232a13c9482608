"""
The log of a service as people read it.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

from fal_core.cli.outputs import is_terminal, styled
from fal_core.events import Log
from fal_core.printing import print_log

_COLOURS = {2: "green", 3: "cyan", 4: "yellow", 5: "red"}


def show_line(log: Log) -> None:
    """
    Print a line; on a terminal what is JSON for machines is made a sentence.
    """
    if log.message.startswith("{") and is_terminal(sys.stderr):
        try:
            facts = json.loads(log.message)
        except ValueError:
            facts = None
        if isinstance(facts, dict):
            sys.stderr.write(f"{_sentence(log, facts)}\n")
            sys.stderr.flush()
            return
    print_log(log)


def _sentence(log: Log, facts: dict[str, Any]) -> str:
    clock = time.strftime("%H:%M:%S", time.localtime(log.time))
    if "traceback" in facts:
        return f"{clock} {str(facts['traceback']).rstrip()}"
    if "status" not in facts or "path" not in facts:
        shown = "  ".join(f"{name}={value}" for name, value in facts.items() if name != "time")
        return f"{clock} {shown}"
    status = int(facts["status"] or 0)
    number = styled(str(status), sys.stderr, fg=_COLOURS.get(status // 100, "white"))
    took = f"{float(facts.get('milliseconds') or 0):.1f} ms"
    request = styled(str(facts.get("request_id", "")), sys.stderr, dim=True)
    return f"{clock} {facts.get('method', '')} {facts['path']} {number} {took} {request}"
