"""Settings: what containers are started with beside their image."""

from __future__ import annotations

import os

import attrs

from fal_core.environments import Channel
from fal_core.reprs import show_fields
from fal_env_container.engines import Engine
from fal_env_container.running.mounts import Mount

#: Names how the worker in a container is spoken to, in place of what its engine can do best.
CHANNEL_VARIABLE = "FAL_CORE_CONTAINER_CHANNEL"


@attrs.frozen(kw_only=True)
class Settings:
    """
    What the containers of one environment are started with.

    Attributes:
        shm_size: Bytes of ``/dev/shm``. None for half of the memory, as outside of containers.

        volumes: What they see beside the working directory and the project.

        network: Whether they have a network, or the name of the one that they are in.

        trusted: Whether what runs in them is the user's own.
    """

    __repr__ = show_fields

    shm_size: int | None = None
    volumes: tuple[Mount, ...] = ()
    network: bool | str = True
    trusted: bool = True

    @property
    def shared_memory(self) -> int:
        """Bytes of ``/dev/shm``."""
        if self.shm_size is not None:
            return self.shm_size
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2


def find_channel(engine: Engine) -> Channel:
    """Return how a worker in a container of *engine* is best spoken to."""
    if engine.place == "elsewhere":
        return "streams"
    chosen = os.environ.get(CHANNEL_VARIABLE)
    best: Channel = "passed" if engine.passes_descriptors else "socket"
    if chosen == "streams":
        return "streams"
    return "socket" if chosen == "socket" else best
