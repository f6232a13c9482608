"""The commands ``fal-core env …``."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner, Result

from fal_core.cli.program import cli
from fal_env_virtualenv.store.listing import list_environments

if TYPE_CHECKING:
    from conftest import Builder, Built

#: What these tests list and remove: not the images that an engine has of other programs.
OURS = ("--kind", "virtualenv", "--kind", "uv")


@pytest.fixture
def command(cache: Path) -> Callable[..., Result]:
    """Return a function that runs ``fal-core env …``."""
    return lambda *arguments: CliRunner().invoke(cli, ["env", *arguments])


def test_list_has_virtual_environments(
    command: Callable[..., Result], three: list[Built]
) -> None:
    """Virtual environments are listed with their requirements and their Python."""
    lines = command("list", *OURS).output.splitlines()
    assert [line.split()[:2] for line in lines[1:]] == [
        ["virtualenv", environment.key[:12]] for environment, _ in three[::-1]
    ]
    version = ".".join(map(str, sys.version_info[:3]))
    assert lines[1].endswith(f"ready  beta (Python {version})")
    listed = json.loads(command("list", *OURS, "--json").output)
    assert [entry["details"]["requirements"] for entry in listed] == [
        [["beta"]],
        [["alpha-one"]],
        [["gamma"]],
    ]


def test_prune_keeps_to_the_size(command: Callable[..., Result], three: list[Built]) -> None:
    """A dry run prints what a run would remove, and removes nothing."""
    dry = command("prune", *OURS, "--max-size", "0", "--dry-run")
    assert dry.output.count("Would remove virtualenv") == 3
    assert len(list_environments()) == 3
    # What builds of other processes have left in uv's cache may go.
    kept = command("prune", *OURS, "--max-size", "2GB", "--json")
    assert json.loads(kept.output)["entries"] == []
    assert len(list_environments()) == 3
    wet = command("prune", *OURS, "--max-size", "0 kB", "--json")
    assert [each["details"]["requirements"] for each in json.loads(wet.output)["entries"]] == [
        [["gamma"]],
        [["alpha-one"]],
        [["beta"]],
    ]
    assert list_environments() == []


def test_prune_without_a_limit_removes_damaged_environments_and_leftovers(
    command: Callable[..., Result], three: list[Built], cache: Path
) -> None:
    """Without a limit, only damaged environments and leftovers of builds are removed."""
    left = cache / "building" / "left"
    left.mkdir(parents=True)
    (left / "file").write_text("left")
    os.unlink(three[1][1].executable)
    assert command("prune", *OURS).exit_code == 0
    assert len(list_environments()) == 2
    assert not left.exists()


def test_sizes_have_the_cache_of_uv(
    command: Callable[..., Result],
    three: list[Built],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The cache of uv has a line of its own, and only its leftovers are ever removed."""
    place = tmp_path / "uv" / "wheels-v5"
    place.mkdir(parents=True)
    (place / "file").write_bytes(bytes(10_000))
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "uv"))
    rows = {row["kind"]: row for row in json.loads(command("du", *OURS, "--json").output)}
    assert rows["virtualenv"]["entries"] == 3
    assert rows["virtualenv"]["category"] == "environments"
    assert rows["uv"]["size"] >= 10_000
    assert rows["uv"]["shared"]
    assert command("prune", *OURS, "--max-size", "0").exit_code == 0
    assert list_environments() == []
    assert (place / "file").exists()


def test_verify_and_rebuild(command: Callable[..., Result], three: list[Built]) -> None:
    """Damage leads to exit code 1, and to a hint at the command that repairs it."""
    before = command("verify")
    assert before.exit_code == 0, before.output
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
    """An error is a sentence on standard error, and exit code 1."""
    result = command("rebuild", "nothing")
    assert result.exit_code == 1
    assert result.output.startswith(
        "Error: No environment has a key that begins with 'nothing'."
    )
    build(three[0][0])
    result = command("rebuild", three[0][0].key)
    assert result.exit_code == 1
    assert "is in use" in result.output
