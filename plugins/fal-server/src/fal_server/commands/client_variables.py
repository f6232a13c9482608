"""The environment variables that point clients at a server."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from fal_server.errors import ServerError
from fal_server.settings import LISTENERS

if TYPE_CHECKING:
    from fal_server.state.data_directories import DataDirectory

#: Addresses that stand for all interfaces, which clients cannot connect to.
ANY = frozenset({"0.0.0.0", "::", ""})

#: The variables with addresses, and the listener of each.
_LISTENERS: Mapping[str, str] = {
    "FAL_GRPC_HOST": "api",
    "FAL_REST_HOST": "api",
    "FAL_RUN_HOST": "run",
    "FAL_QUEUE_RUN_HOST": "queue",
    "FAL_WS_RUN_HOST": "ws",
}


def variables_of(
    directory: DataDirectory, *, tls: bool, key: str | None = None
) -> Mapping[str, str]:
    """
    Return the environment variables that point clients at the server.

    With *tls* all connections are encrypted. Otherwise clients use unencrypted ones where
    they can; connections to the gateways are encrypted in any case.

    Raises:
        ServerError: No server has run on the directory.
    """
    host, ports = directory.read_addresses()
    name = "localhost" if tls and host in ANY | {"127.0.0.1", "::1"} else host
    name = "127.0.0.1" if name in ANY else name
    name = f"[{name}]" if ":" in name else name
    variables = {} if tls else {"ISOLATE_TEST_MODE": "1"}
    variables |= {
        variable: f"{name}:{ports[listener]}"
        for variable, listener in _LISTENERS.items()
        if listener in ports
    }
    variables["SSL_CERT_FILE"] = str(directory.tls / "bundle.pem")
    if tls:
        variables["GRPC_DEFAULT_SSL_ROOTS_FILE_PATH"] = str(directory.tls / "bundle.pem")
    key = directory.read_key() if key is None else key
    return variables | {"FAL_KEY": key} if key else variables


def read_listeners(variables: Mapping[str, str]) -> Mapping[str, tuple[str, int]]:
    """
    Return the host and the port of each listener of the server that *variables* point clients
    at. Empty where they name no server.

    A listener that they do not name has the port that it has beside that of the API.

    Raises:
        ServerError: One of them is no host and port.
    """
    named = {
        listener: _read_address(variable, variables[variable])
        for variable, listener in _LISTENERS.items()
        if variables.get(variable)
    }
    return beside(*named["api"]) | named if "api" in named else {}


def beside(host: str, port: int) -> dict[str, tuple[str, int]]:
    """
    Return where the listeners of a server are whose API is at *port* of *host*, unless it was
    told other ports.
    """
    ports = zip(LISTENERS, range(port, 1 << 16), strict=False)
    return {name: (host, number) for name, number in ports}


def _read_address(variable: str, text: str) -> tuple[str, int]:
    try:
        parts = urlsplit(f"//{text}")
        host, port = parts.hostname, parts.port or 443
    except ValueError:
        host, port = None, 0
    if not host or text != parts.netloc or "@" in text:
        raise ServerError(
            f"{variable} is {text!r}, which is not a host and a port as 'fal.example.com:6001'."
        )
    return host, port


def to_shell(variables: Mapping[str, str]) -> str:
    """Return *variables* as export statements of a shell."""
    return "\n".join(f"export {name}={shlex.quote(value)}" for name, value in variables.items())
