"""
The commands ``fal-core env …``.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click
import pytest
from click.testing import CliRunner, Result

from fal_env_virtualenv import fal_register_commands
from fal_env_virtualenv.store.listing import list_environments

if TYPE_CHECKING:
    from conftest import Builder, Built


@pytest.fixture
def command(cache: Path) -> Callable[..., Result]:
    """
    Return a function that runs ``fal-core env …``.
    """

    @click.group()
    def cli() -> None:
        """
        Stand in for the command line of the core.
        """

    fal_register_commands(cli)
    return lambda *arguments: CliRunner().invoke(cli, ["env", *arguments])


def test_list_prints_a_table(command: Callable[..., Result], three: list[Built]) -> None:
    """
    The table has a line for each environment, and JSON has all fields.
    """
    lines = command("list").output.splitlines()
    assert lines[0].split()[:3] == ["KEY", "PYTHON", "SIZE"]
    assert [line.split()[0] for line in lines[1:]] == [
        environment.key[:12] for environment, _ in three[::-1]
    ]
    assert lines[1].split()[-2:] == ["ready", "beta"]
    listed = json.loads(command("list", "--json").output)
    assert [entry["details"]["requirements"] for entry in listed] == [
        [["beta"]],
        [["alpha-one"]],
        [["gamma"]],
    ]


def test_list_without_environments(command: Callable[..., Result]) -> None:
    """
    An empty cache is a sentence, and an empty list in JSON.
    """
    assert command("list").output == "No environment has been built yet.\n"
    assert json.loads(command("list", "--json").output) == []


def test_gc_keeps_to_the_size(command: Callable[..., Result], three: list[Built]) -> None:
    """
    A dry run prints what a run would remove, and removes nothing.
    """
    dry = command("gc", "--max-size", "0", "--dry-run")
    assert dry.output.count("Would remove") == 3
    assert len(list_environments()) == 3
    # What builds of other processes have left in uv's cache may go.
    kept = command("gc", "--max-size", "2GB", "--json")
    assert json.loads(kept.output)["entries"] == []
    assert len(list_environments()) == 3
    wet = command("gc", "--max-size", "0 kB", "--json")
    assert [
        entry["details"]["requirements"] for entry in json.loads(wet.output)["entries"]
    ] == [
        [["gamma"]],
        [["alpha-one"]],
        [["beta"]],
    ]
    assert list_environments() == []


def test_gc_without_a_size_removes_damaged_environments_and_leftovers(
    command: Callable[..., Result], three: list[Built], cache: Path
) -> None:
    """
    Without a size, only damaged environments and leftovers of builds are removed.
    """
    left = cache / "building" / "left"
    left.mkdir(parents=True)
    (left / "file").write_text("left")
    os.unlink(three[1][1].executable)
    assert command("gc").exit_code == 0
    assert len(list_environments()) == 2
    assert not left.exists()


@pytest.mark.parametrize("size", ["", "much", "-1", "2GX", "5iB"])
def test_gc_refuses_invalid_sizes(command: Callable[..., Result], size: str) -> None:
    """
    A wrong argument is a usage error with exit code 2.
    """
    result = command("gc", "--max-size", size)
    assert result.exit_code == 2
    assert "500MB" in result.output


def test_verify_and_rebuild(command: Callable[..., Result], three: list[Built]) -> None:
    """
    Damage leads to exit code 1, and to a hint at the command that repairs it.
    """
    assert command("verify").exit_code == 0
    key = three[1][0].key
    os.unlink(three[1][1].executable)
    result = command("verify")
    assert result.exit_code == 1
    assert f"fal-core env rebuild {key[:12]}" in result.output
    assert result.output.count("ok") == 2
    assert json.loads(command("verify", "--json", key).output)[key] != []
    assert command("rebuild", key[:12]).exit_code == 0
    assert command("verify", key).exit_code == 0


def test_errors_are_one_sentence(
    command: Callable[..., Result], three: list[Built], build: Builder
) -> None:
    """
    An error is a sentence on standard error, and exit code 1.
    """
    result = command("rebuild", "nothing")
    assert result.exit_code == 1
    assert result.output.startswith(
        "Error: No environment has a key that begins with 'nothing'."
    )
    build(three[0][0])
    result = command("rebuild", three[0][0].key)
    assert result.exit_code == 1
    assert "is in use" in result.output
