"""What a process runs that supervises detached work on this machine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from fal_core.claims import inherit_claim
from fal_core.detached import Supervisor
from fal_core.hosts import Host


def supervise(
    directory: str, make_host: Callable[[], Host[..., Any]], claim: str | None = None
) -> None:
    """
    Run the detached call whose record is in *directory*, on a host of its own.

    Arguments:
        claim: The devices that it is to have, as ``describe_claim`` describes them. None for
            those that the host claims.
    """
    taken = None if claim is None else inherit_claim(claim)
    Supervisor(Path(directory), taken).run(make_host)
