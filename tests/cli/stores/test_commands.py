"""``fal-core env``, over the stores of plugins that fal-core has never heard of."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

Run = Callable[..., subprocess.CompletedProcess[str]]

#: A kind of environment with directories, and one whose things an engine keeps.
THINGS = """
import json
import os
from pathlib import Path
from threading import Event

import attrs

from fal_core.hooks import hookimpl
from fal_core.stores import DirectoryStore, Store, StoredEntry

fal_core_api = 1

STORE = DirectoryStore(folder="things", kind="thing")


@attrs.frozen
class Engine(Store):
    kind: str = "boat"
    category: str = "images"

    @property
    def path(self):
        return Path(os.environ["FAL_CORE_CACHE"], "engine.json")

    def entries(self):
        known = json.loads(self.path.read_text())
        return [
            StoredEntry(kind="boat", key=key, size=size, summary=key, created=1.0, last_used=1)
            for key, size in known.items()
        ]

    def remove(self, entry):
        known = json.loads(self.path.read_text())
        del known[entry.key]
        self.path.write_text(json.dumps(known))
        return True


def build(key):
    def fill(build):
        Path(build.directory, "file").write_bytes(bytes(10_000))

    STORE.find_or_build(key, fill, log=print, cancelled=Event(), summary="a thing")


@hookimpl
def fal_register_stores():
    return [STORE, Engine(), Engine()]
"""

FAILS = """
from fal_core.hooks import hookimpl
from fal_core.errors import HostError
from fal_core.stores import Store

fal_core_api = 1


class Down(Store):
    kind = "down"
    category = "images"

    def entries(self):
        raise HostError("The engine does not run. Start it.")

    def remove(self, entry):
        return False


class Torn(Down):
    category = "layers"

    def entries(self):
        return 1 / 0


@hookimpl
def fal_register_stores():
    return [Down(), Torn(), 3]
"""


@pytest.fixture
def env(command_line: Any) -> Run:
    """Return a function that runs ``fal-core env …`` where two things and two images are kept."""
    command_line.variables["FAL_CORE_PLUGINS"] = "things,fails"
    command_line.install("things", THINGS)
    folder = command_line.folder / "cache"
    folder.mkdir()
    (folder / "engine.json").write_text('{"small:1": 2000, "large:2": 3000000}')
    code = "import things; things.build('one'); things.build('two')"
    subprocess.run(
        [sys.executable, "-c", code], env=command_line.variables, check=True, timeout=60
    )
    return partial(command_line, "env")


def listed(env: Run, *arguments: str) -> list[str]:
    """Return the keys that ``list`` prints."""
    return [each["key"] for each in json.loads(env("list", "--json", *arguments).stdout)]


def test_list_has_the_stores_of_all_plugins(env: Run) -> None:
    """What any plugin keeps is listed, the most recently used first; a store counts once."""
    done = env("list")
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0].split() == ["KIND", "KEY", "SIZE", "CREATED", "USED", "STATE", "WHAT"]
    assert [line.split()[:2] for line in lines[1:]] == [
        ["thing", "two"],
        ["thing", "one"],
        ["boat", "small:1"],
        ["boat", "large:2"],
    ]
    assert lines[1].endswith("ready  a thing")
    assert listed(env, "--kind", "boat") == ["small:1", "large:2"]


def test_list_without_anything(command_line: Any) -> None:
    """Nothing is a sentence, and an empty list in JSON."""
    command_line.variables["FAL_CORE_PLUGINS"] = ""
    assert command_line("env", "list").stdout == "No environment has been built yet.\n"
    assert json.loads(command_line("env", "list", "--json").stdout) == []
    assert command_line("env", "prune").stdout == "Freed 0 B; 0 B remain.\n"
    assert "keeps anything" in command_line("env", "du").stdout


def test_sizes_of_each_kind(env: Run) -> None:
    """Each store has a line with how much it keeps."""
    lines = [line.split() for line in env("du").stdout.splitlines()]
    assert lines[1][:3] == ["thing", "environments", "2"]
    assert lines[2][:5] == ["boat", "images", "2", "3", "MB"]
    rows = json.loads(env("du", "--json").stdout)
    assert [row["size"] for row in rows if row["kind"] == "boat"] == [3_002_000]


def test_prune_removes_the_longest_unused_of_any_kind(env: Run) -> None:
    """A limit takes the least recently used first, whoever keeps it; a dry run takes nothing."""
    dry = env("prune", "--max-size", "1MB", "--dry-run")
    assert "Would remove boat large:2 (3 MB): large:2\n" in dry.stdout
    assert len(listed(env)) == 4
    assert env("prune").stdout.startswith("Freed 0 B; 3 MB remain.")
    assert env("prune", "--unused-for", "30d", "--kind", "thing").returncode == 0
    assert len(listed(env)) == 4
    assert env("prune", "--unused-for", "30d").stdout.count("Removed boat") == 2
    assert listed(env) == ["two", "one"]
    pruned = json.loads(env("prune", "--max-size", "0", "--json").stdout)
    assert sorted(each["key"] for each in pruned["entries"]) == ["one", "two"]
    assert (pruned["kept"], pruned["dry_run"]) == (0, False)
    assert listed(env) == []


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("prune", "--max-size", "much"), "500MB"),
        (("prune", "--max-size", "2"), "'2' has no unit. Write it as in 500MB or 2GB."),
        (("prune", "--unused-for", "3"), "30d"),
        (
            ("list", "--kind", "bote"),
            "There is nothing of kind 'bote'. There are: boat, thing.",
        ),
    ],
)
def test_wrong_arguments_are_usage_errors(
    env: Run, arguments: tuple[str, ...], says: str
) -> None:
    """A wrong argument is an error with exit code 2."""
    done = env(*arguments)
    assert done.returncode == 2
    assert says in done.stderr


def test_store_that_fails_hides_no_other(env: Run, command_line: Any) -> None:
    """What cannot be asked is said in one sentence each, and the rest is listed and pruned."""
    command_line.install("fails", FAILS)
    for arguments in (("list",), ("list", "--json"), ("du",), ("prune", "--max-size", "1MB")):
        done = env(*arguments)
        assert done.returncode == 1
        assert done.stdout
        assert done.stderr.splitlines() == [
            "Error: Plugin 'fails (fails 1.0)' names 3 as a store, which it is not.",
            "Error: The engine does not run. Start it.",
            "Error: The layers of kind 'down' cannot be asked: ZeroDivisionError: "
            "division by zero.",
        ]
    assert listed(env) == ["two", "one"]
