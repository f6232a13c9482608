"""Packages: what a node is given of the code that is installed here."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from fal_core.errors import HostError
from fal_core.nodes.node_code import find_plugin, pack


def test_an_archive_has_all_that_an_agent_imports(tmp_path: Path) -> None:
    """A Python that has nothing else imports the agent from it."""
    digest, path = pack((), str(tmp_path))
    assert os.path.basename(path) == f"{digest}.zip"
    code = tmp_path / "code"
    with zipfile.ZipFile(path) as archive:
        archive.extractall(code)
    ask = "import sys; sys.path.insert(0, sys.argv[1]); import fal_core.nodes.agent as it"
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", f"{ask}; print(it.__file__)", str(code)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.startswith(str(code))


def test_an_archive_is_made_once(tmp_path: Path) -> None:
    """What has not changed is packed once, under a name by what is in it."""
    first = pack((), str(tmp_path))
    made = os.stat(first[1]).st_mtime_ns
    assert pack((), str(tmp_path)) == first
    assert os.stat(first[1]).st_mtime_ns == made
    assert [each.name for each in tmp_path.iterdir()] == [os.path.basename(first[1])]


def test_a_kind_that_no_plugin_brings_is_named() -> None:
    """The nodes can import the kinds of installed plugins; another one is an error that says so."""
    assert find_plugin("fal_core", "current") == "fal-core"
    with pytest.raises(HostError, match=r"'mine'.*'my_module'"):
        find_plugin("my_module", "mine")
