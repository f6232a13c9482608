"""Listeners: the sockets of services."""

from __future__ import annotations

import errno
import os
import socket
from pathlib import Path
from typing import Any

import httpx
import pytest

from fal_serve.serving.listeners import CannotListen, bind, url_of


def test_bound_port_refuses_connections_until_it_listens():
    """An open port means that the service is ready."""
    with bind("127.0.0.1", 0) as listener:
        url = url_of(listener)
        assert url == f"http://127.0.0.1:{listener.getsockname()[1]}"
        with pytest.raises(httpx.ConnectError):
            httpx.get(url)
        listener.listen()
        with socket.create_connection(listener.getsockname()):
            pass


def test_taken_port_is_told_with_its_holder():
    """The error names the address, its purpose, the process that has it, and what to do."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(CannotListen) as caught:
            bind("127.0.0.1", port, "port of tests", "Declare another.")
    assert caught.value.errno == errno.EADDRINUSE
    told = str(caught.value)
    assert told.startswith(
        f"The port of tests cannot listen on 127.0.0.1:{port}: Address already in use by "
        f"process {os.getpid()} ("
    )
    assert told.endswith("). Declare another.")


def test_address_of_another_machine_is_told():
    """
    An address that this machine does not have, and a host that nobody knows, are errors of
    the same kind, which say that the host is wrong.
    """
    for host in ("192.0.2.1", "no-such-host.invalid"):
        with pytest.raises(
            CannotListen, match=rf"listen on {host}:0: .+\. Give it the host of"
        ):
            bind(host, 0)


@pytest.mark.parametrize("port", [99999, -1, "8000", None])
def test_what_is_no_port_is_told(port: Any):
    """A number that is no port, and a port as text, are errors of the same kind."""
    with pytest.raises(CannotListen, match=f"on port {port!r}: a port is a number from 0,"):
        bind("127.0.0.1", port)


def test_port_of_a_service_that_has_ended_is_free_at_once():
    """Connections that the previous service had closed do not keep the port."""
    with bind("127.0.0.1", 0) as first:
        first.listen()
        address = first.getsockname()
        client = socket.create_connection(address)
        accepted, _ = first.accept()
        accepted.close()
    with client, bind(*address):
        pass


@pytest.mark.skipif(not socket.has_ipv6, reason="there is no IPv6")
def test_ipv6_address_has_brackets():
    """The port can be told from the address."""
    try:
        listener = bind("::1", 0)
    except CannotListen:
        pytest.skip("This machine has no IPv6 address.")
    with listener:
        port = listener.getsockname()[1]
        assert url_of(listener) == f"http://[::1]:{port}"
        listener.listen()
        with pytest.raises(CannotListen, match=rf"cannot listen on \[::1\]:{port}: "):
            bind("::1", port)


def test_directory_of_sockets_is_an_address(tmp_path: Path):
    """Where the address names a directory, the sockets are in it, by their names."""
    address = f"unix:{tmp_path}"
    with bind(address, 0) as run, bind(address, 0, name="metrics") as metrics:
        assert url_of(run) == f"unix:{tmp_path}/run"
        assert url_of(metrics) == f"unix:{tmp_path}/metrics"
        with pytest.raises(
            CannotListen, match=r"The service cannot listen on /.*/run: Address"
        ):
            bind(address, 0)
