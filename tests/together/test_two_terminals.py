"""Two terminals, as in the documentation of the server."""

from __future__ import annotations

import importlib.util
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = ROOT / "plugins" / "fal-server" / "tests" / "programs.py"

for name in ("fal_server", "fal_serve", "fal_host_serverless", "fal_env_virtualenv"):
    pytest.importorskip(name)


@pytest.fixture(scope="module")
def programs() -> ModuleType:
    """The module of servers in processes of their own, and of the released clients."""
    spec = importlib.util.spec_from_file_location("programs_of_servers", PROGRAMS)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as here:
        # It has neighbours of its own.
        here.syspath_prepend(PROGRAMS.parent)
        spec.loader.exec_module(module)
    return module


def section(page: str, title: str) -> str:
    """Return the section *title* of a page of the documentation."""
    return (ROOT / page).read_text().partition(f"## {title}\n")[2].partition("\n## ")[0]


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


class Terminals:
    """
    Two terminals: a server runs in the first one, its clients in the other.

    Arguments:
        commands: The programs of the second, by their names.
    """

    def __init__(self, programs: Any, folder: Path, commands: Mapping[str, str]) -> None:
        self._programs = programs
        self._folder = folder
        self._home = folder / "home"
        self._place = folder / "bin"
        self._place.mkdir()
        for name, command in {
            "fal-core": f'"{sys.executable}" -m fal_core.cli',
            **commands,
        }.items():
            (self._place / name).write_text(f'#!/bin/sh\nexec {command} "$@"\n')
            (self._place / name).chmod(0o755)
        self.data = self._home / ".local" / "share" / "fal-core" / "server"
        self._first = ("--port", programs.find_ports())
        self.start()

    def start(self) -> None:
        """Start the server, once more where it has ended."""
        errors = self._folder / "errors"
        self.server = self._programs.Program(self.data, *self._first, errors=errors)
        self.server.wait_until_ready()

    def type(self, commands: str) -> Iterator[str]:
        """Type *commands* in the second terminal, and return each line that they print."""
        with subprocess.Popen(
            ["bash", "-ec", commands],
            cwd=self._folder,
            env={
                "PATH": f"{self._place}{os.pathsep}{os.environ['PATH']}",
                "HOME": str(self._home),
                "XDG_CACHE_HOME": os.environ.get("XDG_CACHE_HOME", str(Path.home() / ".cache")),
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as process:
            assert process.stdout is not None
            for line in process.stdout:
                yield line.rstrip("\n")
        assert process.returncode == 0

    def close(self) -> None:
        """End the server, and its runners."""
        code = self.server.end()
        self._programs.end_runners(self.data)
        assert code == 0


@pytest.fixture
def open_terminals(programs: Any, tmp_path: Path) -> Iterator[Callable[..., Terminals]]:
    """Open two terminals, which the end of the test closes."""
    opened: list[Terminals] = []

    def open_them(**commands: str) -> Terminals:
        opened.append(Terminals(programs, tmp_path, commands))
        return opened[-1]

    yield open_them
    for each in opened:
        each.close()


def test_two_terminals(programs: Any, open_terminals: Any, tmp_path: Path):
    """
    A deployment of either client is called with live logs, and responds although the
    server is killed and restarted meanwhile.
    """
    page = section("docs/server.md", "Two terminals")
    names = re.findall(r"`(\w+\.py)`", page)
    for name, content in zip(names, blocks(page, "py"), strict=True):
        (tmp_path / name).write_text(content)
    _, typed, after = blocks(page, "console")
    commands = [line[2:] for line in typed.splitlines() if line.startswith("$ ")]
    printed = [line for line in typed.splitlines() if not line.startswith("$ ")]

    clients = programs.install_clients(tmp_path / "clients", "newest").folder / "bin"
    terminals = open_terminals(fal=f'"{clients}/fal"', python=f'"{clients}/python"')
    told: list[str] = []
    for line in terminals.type("\n".join(commands)):
        told.append(line)
        if line == printed[-1] and told.count(line) == 1:
            terminals.server.end(signal.SIGQUIT)
            terminals.start()
    assert told[-1] == after.splitlines()[-1], told
    assert [line for line in told if line in printed][: len(printed)] == printed
