"""``fal-core plugins``."""

from __future__ import annotations

import json
from typing import Any

BROKEN = "raise RuntimeError('out of\\n  order')\n"


def test_plugins_list_names_the_broken(command_line: Any) -> None:
    """A plugin that cannot be loaded is listed with its reason, and hides no other."""
    command_line.install("torn", BROKEN)
    done = command_line("plugins", "list")
    assert done.returncode == 0
    assert "torn (torn 1.0): broken\n  it could not be loaded: RuntimeError: out of order." in (
        done.stdout
    )
    assert "environments: current" in done.stdout


def test_plugins_list_for_machines(command_line: Any) -> None:
    """``--json`` prints what each plugin provides, and what is wrong with it."""
    command_line.install("torn", BROKEN)
    listed = {each["entry"]["name"]: each for each in json.loads(_json(command_line))}
    assert listed["core"]["environments"] == ["current"]
    assert listed["core"]["problem"] == ""
    assert "out of order" in listed["torn"]["problem"]


def _json(command_line: Any) -> str:
    done = command_line("plugins", "list", "--json")
    assert done.returncode == 0
    assert done.stderr == ""
    return str(done.stdout)
