"""Settings: the options of a server that is started."""

from __future__ import annotations

import os
from collections.abc import Mapping
from ipaddress import ip_address
from pathlib import Path

import attrs

from fal_server.limits import Limits

#: The listeners that clients reach, by their names.
LISTENERS = ("api", "run", "queue", "ws")

#: What the URLs of files begin with, where they are to have a host of their own.
FILES = "files"

#: Host names in the code of released clients, which are those of the API.
API_NAMES = ("rest.fal.ai", "v3.fal.media", "kv.fal.media", "auth.fal.ai")

#: Further ones, of clients that read no variables, and the listener of each.
GATEWAY_NAMES = {"fal.run": "run", "queue.fal.run": "queue", "ws.fal.run": "ws"}

#: All of them. The certificate holds for them too, so that a proxy can lead such clients here.
FOREIGN_NAMES = (*API_NAMES, *GATEWAY_NAMES)

#: The port of the API, for gRPC and HTTP; the other listeners have the next ones.
PORT = 6001

#: The key of a server for one developer, as clients are given it.
DEV_KEY = "dev:dev"


@attrs.frozen(kw_only=True)
class ServerSettings:
    """
    The options of a server that is started.

    Attributes:
        data: The data directory. One server at a time uses it.

        host: The address to listen on.

        port: The port of the API. With 0 every listener takes a free port.

        run_port: The port of the run gateway. None is the port after *port*.

        queue_port: The port of the queue gateway. None is the second after *port*.

        ws_port: The port of the websocket gateway. None is the third after *port*.

        metrics_port: The port of the metrics. None is the fourth after *port*.

        machines: The hosts that runners are launched on: the name or the URL of each.

        database: The URL of a database to use instead of the file in *data*.

        files: The URL of the store of files to use instead of *data*, as in
            ``s3://bucket/prefix``.

        secrets_key: The file of the key that encrypts secrets, if that is kept in neither
            *data* nor *database*.

        names: Host names of this machine for its certificate, besides ``localhost`` and
            *host*.

        webhook_networks: Private networks that webhooks may reach, as in ``10.0.0.0/8``.

        proxies: Addresses and networks of reverse proxies, which have connections of many
            clients, as in ``10.0.0.0/8``.

        public: By the name of a listener, the host by which clients reach it through a reverse
            proxy that speaks TLS with them, as in ``fal.example.com``. That of
            :data:`FILES` is the host of the URLs of files.

        memory: The memory limit of a runner of each machine type, as in ``XS=512M``.

        enforce: Whether runners are held to the limits of their machine types: what plugins
            state of them, and *memory* in place of the memory that they state.

        allow_open_runners: Whether applications that are not public may have runners whose
            ports every local user reaches.

        kinds: The kinds of environments that clients may ask for, as in ``container``. Empty
            for all that are installed.

        metrics_key: Whether the metrics are shown to those alone who have their key. None is
            where the server listens beyond this machine.

        limits: How much the server takes from those who talk to it.

        cors: Whether pages of all origins may send requests to applications from a browser.

        owner: The nickname of the user that is made on the first start.

        drain: Seconds that requests have to finish when the server ends.

        advertise: The address at which other replicas reach this one. None for *host*.

        lead_runners: Whether runners reach this server at the hosts that released clients have
            in their code.

        dev: Whether it is for one developer on this machine, with a key that everybody knows.
    """

    data: Path
    host: str = "127.0.0.1"
    port: int = PORT
    run_port: int | None = None
    queue_port: int | None = None
    ws_port: int | None = None
    metrics_port: int | None = None
    machines: tuple[str, ...] = ("local",)
    database: str | None = None
    files: str | None = None
    secrets_key: Path | None = None
    names: tuple[str, ...] = ()
    webhook_networks: tuple[str, ...] = ()
    proxies: tuple[str, ...] = ()
    public: Mapping[str, str] = attrs.field(factory=dict)
    memory: tuple[str, ...] = ()
    enforce: bool = False
    allow_open_runners: bool = False
    kinds: tuple[str, ...] = ()
    metrics_key: bool | None = None
    limits: Limits = attrs.field(factory=Limits)
    cors: bool = True
    owner: str = "owner"
    drain: float = 10.0
    advertise: str | None = None
    lead_runners: bool = attrs.field(default=False, converter=bool)
    dev: bool = False

    def port_of(self, listener: str) -> int:
        """Return the port of a listener, by its name. 0 stands for any free port."""
        ports = {
            "api": self.port,
            "run": self.run_port,
            "queue": self.queue_port,
            "ws": self.ws_port,
            "metrics": self.metrics_port,
        }
        port = ports[listener]
        if port is not None:
            return port
        return self.port + list(ports).index(listener) if self.port else 0

    @property
    def asks_for_metrics_key(self) -> bool:
        """Whether the metrics are shown to those alone who have their key."""
        return not is_loopback(self.host) if self.metrics_key is None else self.metrics_key

    @property
    def database_url(self) -> str:
        """The URL of the database, as SQLAlchemy takes it."""
        return self.database or f"sqlite:///{self.data / 'state.db'}"


def is_loopback(host: str) -> bool:
    """Return whether only this machine reaches the address *host*."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def default_data() -> Path:
    """Return the data directory that is used unless another is given."""
    root = os.environ.get("XDG_DATA_HOME") or "~/.local/share"
    return Path(root).expanduser() / "fal-core" / "server"
