"""
A port that somebody has.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from typing import Any

import pytest

from fal_core import PortTaken
from fal_core_worker import networks
from fal_host_local import LocalHost


@pytest.fixture
def without_namespaces(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A machine where ``pasta`` is not installed.
    """
    monkeypatch.setenv("PATH", "/nowhere")
    networks.missing.cache_clear()


@pytest.mark.usefixtures("without_namespaces")
def test_a_port_that_a_function_has_is_told_with_its_name(
    host: LocalHost,
    port: int,
    make_server: Callable[..., Any],
    ask: Callable[[str], list[str]],
    wait_for_end: Callable[[Any], None],
):
    """
    The error names the function that has the port, and its reference.
    """
    serve = make_server(host, port)
    first = serve.spawn("one")

    with pytest.raises(PortTaken, match=rf"'serve' \({first.reference}\)") as caught:
        serve.spawn("two")
    assert caught.value.port == port
    assert "pasta" in str(caught.value)
    wait_for_end(first)
    assert ask(serve.spawn("three").url)[0] == "three"


@pytest.mark.usefixtures("without_namespaces")
def test_a_port_that_another_process_has_is_told_with_its_command(
    host: LocalHost, make_server: Callable[..., Any]
):
    """
    The error names the process that has the port, and its command line.
    """
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(PortTaken, match=rf"process {os.getpid()} \(\S+"):
            make_server(host, port).spawn("one")
    assert host.worker_count == 0
