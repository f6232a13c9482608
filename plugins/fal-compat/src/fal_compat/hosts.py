"""The hosts ``local``, ``serverless`` and ``cloud``, which are made at their first use."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fal_host_local import LocalHost
    from fal_host_serverless import FalServerlessHost

    local: LocalHost
    serverless: FalServerlessHost
    cloud: FalServerlessHost


@functools.cache
def _local() -> Any:
    from fal_host_local import LocalHost

    return LocalHost()


@functools.cache
def _serverless() -> Any:
    from fal_host_serverless import FalServerlessHost

    return FalServerlessHost()


if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        made = {"local": _local, "serverless": _serverless, "cloud": _serverless}.get(name)
        if made is None:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return made()
