"""The hosts that declarations name."""

from __future__ import annotations

import os
from typing import Any

from fal_core.errors import OptionError
from fal_core.hosts import Host


def to_host(host: Host[Any, Any] | str) -> Host[Any, Any]:
    """
    Return *host* itself, or the host of that name or URL.

    Raises:
        OptionError: It is neither a host nor a name of one.
    """
    if isinstance(host, Host):
        return host
    if isinstance(host, str):
        from fal_core.plugins.installed import find_host

        return find_host(host)
    raise OptionError(
        f"Option 'host' must be a host, its name or its URL, not {host!r} "
        f"({type(host).__name__})."
    )


def default_host() -> Host[Any, Any]:
    """Return the host of functions that name none: that of ``FAL_CORE_HOST``, or ``local``."""
    return to_host(os.environ.get("FAL_CORE_HOST") or "local")
