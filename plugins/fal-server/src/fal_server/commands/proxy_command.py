"""``fal-core server proxy``: lead released clients to a server, where hosts stand in their code."""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import signal
import sys
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fal_core.cli import print_json
from fal_server.commands.client_variables import ANY, beside, read_listeners
from fal_server.commands.options import data_option, json_option
from fal_server.settings import API_NAMES, GATEWAY_NAMES, PORT, default_data

if TYPE_CHECKING:
    from fal_server_agent.networks.connect_proxies import ConnectProxy

#: The port of the proxy: the one after those of a server.
_PROXY_PORT = PORT + 5

_SERVER = re.compile(r"(\[[0-9a-fA-F:]+\]|[a-zA-Z0-9.-]+):([0-9]{1,5})")


def _read_server(
    _: click.Context, __: click.Parameter, written: str | None
) -> tuple[str, int] | None:
    if written is None:
        return None
    found = _SERVER.fullmatch(written)
    if found is None or not 0 < int(found[2]) < 65536:
        raise click.BadParameter(
            f"{written!r} is not a host and a port. Write them as in 'fal.example.com:6001'."
        )
    return found[1].strip("[]"), int(found[2])


@click.command("proxy")
@data_option
@click.option(
    "--server",
    metavar="HOST:PORT",
    callback=_read_server,
    help="The API of a server on another machine [default: the one that the variables of "
    "'server env' name, or else that of the directory].",
)
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=_PROXY_PORT,
    show_default=True,
    help="The port of the proxy on this machine. 0 takes a free one.",
)
@json_option
def proxy(data: Path | None, server: tuple[str, int] | None, port: int, as_json: bool) -> None:
    """
    Lead released clients to a server where hosts stand in their code; Ctrl-C ends it.

    It is for programs of this machine alone. It prints the variables by which they use it;
    their connections to all other hosts are made as before.

    \b
    Example:
      fal-core server proxy --server fal.example.com:6001
    """
    from fal_server_agent.networks.connect_proxies import ConnectProxy, NextProxy

    listeners = beside(*server) if server is not None else _find_listeners(data)
    leads = {
        name: listeners[listener]
        for name, listener in (*((name, "api") for name in API_NAMES), *GATEWAY_NAMES.items())
        if listener in listeners
    }
    url = urllib.request.getproxies().get("https", "")
    beyond = NextProxy.read(url) if url else None
    if beyond is not None and beyond.port == port and beyond.host in {"127.0.0.1", "localhost"}:
        # It was started with the variables that it prints.
        beyond = None
    made = ConnectProxy(leads, beyond)
    asyncio.run(_serve(made, port, as_json=as_json))


def _find_listeners(data: Path | None) -> Mapping[str, tuple[str, int]]:
    """
    Return where the listeners are of the server that the variables of this process name, or
    that runs on the directory *data*.
    """
    from fal_server.state.data_directories import DataDirectory

    named = read_listeners(os.environ) if data is None else {}
    if named:
        return named
    host, ports = DataDirectory((data or default_data()).absolute()).read_addresses()
    host = "127.0.0.1" if host in ANY else host
    return {name: (host, port) for name, port in ports.items()}


async def _serve(proxy: ConnectProxy, port: int, *, as_json: bool) -> None:
    """Run a proxy until a signal ends it."""
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    try:
        taken = await proxy.start(port)
    except OSError as error:
        raise click.ClickException(
            f"The proxy cannot listen at port {port}: {error.strerror}. Choose another by "
            "'--port'."
        ) from error
    variables = _variables(taken)
    if as_json:
        print_json({"port": taken, "variables": dict(variables)})
    else:
        for server in dict.fromkeys(proxy.leads.values()):
            names = [name for name, led in proxy.leads.items() if led == server]
            click.echo(f"# {', '.join(names)}: {server[0]}:{server[1]}")
        for name, value in variables.items():
            click.echo(f"export {name}={shlex.quote(value)}")
        click.echo("# Ready. Ctrl-C ends it.")
    sys.stdout.flush()
    await stop.wait()
    await proxy.close()


def _variables(port: int) -> Mapping[str, str]:
    """Return the variables by which clients use the proxy, but for what is on this machine."""
    kept = os.environ.get("NO_PROXY") or os.environ.get("no_proxy") or ""
    here = ["127.0.0.1", "localhost", "::1"]
    others = [each for each in kept.split(",") if each.strip() and each.strip() not in here]
    return {
        "HTTPS_PROXY": f"http://127.0.0.1:{port}",
        "NO_PROXY": ",".join([*here, *others]),
    }
