"""
The launching side: what needs fal_core, and is not imported where a service runs.
"""

from __future__ import annotations

from fal_core.options import HostOptions
from fal_serve.settings import Settings


def settings_of(options: HostOptions) -> Settings:
    """
    Return what *options* say to a server.
    """
    return Settings(
        request_timeout=options.request_timeout,
        startup_timeout=options.startup_timeout,
        termination_grace=options.termination_grace_period_seconds,
        max_multiplexing=options.max_multiplexing,
        metrics_port=options.metrics_port,
    )
