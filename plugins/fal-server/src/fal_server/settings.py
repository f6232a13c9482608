"""
Settings: what a server is told when it starts.
"""

from __future__ import annotations

import os
from pathlib import Path

import attrs

#: The port of gRPC and REST; the other doors follow it.
PORT = 6001


@attrs.frozen(kw_only=True)
class ServerSettings:
    """
    What a server is told when it starts.

    Attributes:
        data: The directory that holds all it knows. One server at a time uses it.

        host: The address to listen on.

        port: Of gRPC and REST. With 0 every door takes a free port.

        run_port: Of the gateway that answers at once. None is the port after *port*.

        queue_port: Of the gateway that queues. None is the second after *port*.

        ws_port: Of the gateway for websockets. None is the third after *port*.

        metrics_port: Of the metrics of the server. None is the fourth after *port*.

        machine: The host that runners are launched on: its name or its URL.

        database: The URL of another database than the file in *data*.

        names: What clients call this machine, beside ``localhost`` and *host*.

        webhook_networks: Networks that webhooks may reach beside the public ones, as in
            ``10.0.0.0/8``.

        memory: How much memory a runner of each machine type may use, as in
            ``XS=512M``; a type that is not named is limited where a plugin knows it.

        owner: The nickname of the user that the first start makes.

        drain: Seconds that requests have to finish once the server is told to end.
    """

    data: Path
    host: str = "127.0.0.1"
    port: int = PORT
    run_port: int | None = None
    queue_port: int | None = None
    ws_port: int | None = None
    metrics_port: int | None = None
    machine: str = "local"
    database: str | None = None
    names: tuple[str, ...] = ()
    webhook_networks: tuple[str, ...] = ()
    memory: tuple[str, ...] = ()
    owner: str = "owner"
    drain: float = 10.0

    def port_of(self, door: str) -> int:
        """
        Return the port that *door* is to take, 0 for any.
        """
        doors = {
            "api": self.port,
            "run": self.run_port,
            "queue": self.queue_port,
            "ws": self.ws_port,
            "metrics": self.metrics_port,
        }
        port = doors[door]
        if port is not None:
            return port
        return self.port + list(doors).index(door) if self.port else 0

    @property
    def database_url(self) -> str:
        """
        Where the state is kept, as SQLAlchemy writes it.
        """
        return self.database or f"sqlite:///{self.data / 'state.db'}"


def default_data() -> Path:
    """
    Return the data directory of a server that is told none.
    """
    root = os.environ.get("XDG_DATA_HOME") or "~/.local/share"
    return Path(root).expanduser() / "fal-core" / "server"
