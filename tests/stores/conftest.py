"""A store of directories, and programs that build into it."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fal_core.stores import DirectoryStore

#: Starts a Python with a script, which begins with imports and a store.
Start = Callable[..., subprocess.Popen[str]]

PRELUDE = """
import os, sys, threading
from fal_core.stores import DirectoryStore

store = DirectoryStore(folder="things", kind="thing")


def build(opened):
    with open(os.path.join(opened.directory, "built"), "w") as stream:
        stream.write(str(os.getpid()))


def say(line):
    print(line.message, flush=True)
"""


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[DirectoryStore]:
    monkeypatch.setenv("FAL_CORE_CACHE", str(tmp_path / "cache"))
    store = DirectoryStore(folder="things", kind="thing")
    yield store
    store.release_all()


@pytest.fixture
def start(store: DirectoryStore) -> Iterator[Start]:
    """Return a function that starts a Python with a script, which is killed in the end."""
    processes: list[subprocess.Popen[str]] = []

    def begin(script: str, *arguments: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", PRELUDE + textwrap.dedent(script), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        processes.append(process)
        return process

    yield begin
    for process in processes:
        process.kill()
        process.communicate()
