"""
The log of a build: the lines of the builder, as events.
"""

from __future__ import annotations

import time

import attrs

from fal_core.events import Level, Log, LogSink
from fal_env_virtualenv.requirements import url_credentials


@attrs.frozen
class BuildLog:
    """
    Passes lines to *sink* as events of the source ``BUILDER``, with credentials masked.
    """

    sink: LogSink

    def write(self, line: str) -> None:
        """
        Log one *line*, as a warning if it begins as uv's warnings do.
        """
        level: Level = "WARNING" if line.startswith("warning:") else "INFO"
        self.sink(Log(url_credentials.mask(line), level, "BUILDER", time.time()))
