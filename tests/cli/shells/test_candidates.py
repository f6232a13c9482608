"""What a word of the command line may become."""

from __future__ import annotations

from pathlib import Path

import click
import pytest

from fal_core.cli.run import run
from fal_core.cli.shells.candidates import complete_host, complete_target, find_names

TASKS = """
import missing_here
import fal_core
from fal_core import function as isolate_it, function

@function("virtualenv", requirements=["humanize"])
def describe(size): ...

@fal_core.function("current")
async def deliver(): ...

def helper(): ...

class Reader(fal.App, keep_alive=60): ...

class Plain: ...
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory in which words are completed."""
    (tmp_path / "tasks.py").write_text(TASKS)
    (tmp_path / "torn.py").write_text("def (")
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def complete(incomplete: str) -> list[tuple[str, str]]:
    found = complete_target(click.Context(run), run.params[0], incomplete)
    return [(item.type, item.value) for item in found]


def test_functions_of_a_file_are_found_without_running_it() -> None:
    """Decorated functions and applications are found; a file that cannot be read has none."""
    assert find_names("tasks.py") == ["describe", "deliver", "Reader"]
    assert find_names("torn.py") == []
    assert find_names("none.py") == []


@pytest.mark.parametrize(
    ("incomplete", "names"),
    [
        ("tasks.py::", ["describe", "deliver", "Reader"]),
        ("tasks.py::de", ["describe", "deliver"]),
        ("tasks.py:", ["describe", "deliver", "Reader"]),
        ("ta", ["describe", "deliver", "Reader"]),
        ("tasks.py::none", []),
    ],
)
def test_target_is_completed_by_the_names_of_its_file(
    incomplete: str, names: list[str]
) -> None:
    """The file may be written whole, or as far as no other begins alike."""
    assert complete(incomplete) == [("plain", f"tasks.py::{name}") for name in names]


@pytest.mark.parametrize("incomplete", ["", "t", "other"])
def test_file_is_completed_by_the_shell(incomplete: str) -> None:
    """Where several files may be meant, the shell completes them."""
    assert complete(incomplete) == [("file", incomplete)]


def test_installed_hosts_are_candidates() -> None:
    """A host is completed by the names of those that are installed."""
    from fal_core.plugins.installed import load_plugins

    found = complete_host(click.Context(run), run.params[2], "")
    assert [item.value for item in found] == sorted(load_plugins().hosts)
    assert complete_host(click.Context(run), run.params[2], "no-such-host") == []
