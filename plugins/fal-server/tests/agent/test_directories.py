"""Directories: made for a runner, and where its files are."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

SETTLE = """
import json, os, sys
from fal_server_agent.control_servers import settle

header = json.loads(sys.argv[1])
settle(header)
settle(header)
there = os.path.exists(sys.executable)
print(json.dumps([os.getcwd(), sys.path.count(header.get("directory")), there]))
"""


def settle(**header: Any) -> Any:
    """
    Settle twice in a process of its own. Return its working directory, how often the files
    are searched for modules, and whether its Python is still there.
    """
    done = subprocess.run(
        [sys.executable, "-c", SETTLE, json.dumps({"mounts": {}, "directories": [], **header})],
        capture_output=True,
        text=True,
        cwd="/",
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_runner_begins_where_its_files_are(tmp_path: Path):
    """
    A runner with files works in their directory, and imports modules from there; its data
    is for its account alone.
    """
    files, home = tmp_path / "files", tmp_path / "accounts" / "me"
    files.mkdir()
    models = home / "models"
    directories = [str(home), str(models)]
    found = settle(home=str(home), directory=str(files), directories=directories)
    assert found == [str(files), 1, True]
    assert stat.S_IMODE(os.stat(models).st_mode) == 0o700


def test_runner_without_files_stays_where_it_is(tmp_path: Path):
    """A runner without files keeps its working directory."""
    assert settle(home=str(tmp_path)) == ["/", 0, True]


def test_mount_does_not_hide_python(tmp_path: Path):
    """A directory is not mounted over one in which Python, or a directory of the runner, is."""
    hiding = str(Path(sys.executable).parent.parent)
    mounts = {hiding: str(tmp_path), str(tmp_path.parent): str(tmp_path)}
    assert settle(home=str(tmp_path), mounts=mounts) == ["/", 0, True]
