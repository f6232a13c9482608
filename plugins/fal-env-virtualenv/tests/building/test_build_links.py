"""The links at which uv sees environments while they are built."""

from __future__ import annotations

import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any

import attrs

from fal_env_virtualenv import Virtualenv
from fal_env_virtualenv.building.build_directories import linked
from fal_uv.requirements.pythons import running_python
from fal_uv.running.child_processes import run

if TYPE_CHECKING:
    from conftest import Builder


def interpreters(uv_cache: Path) -> list[Path]:
    """Return the files in which uv caches facts of interpreters."""
    return [path for path in uv_cache.glob("interpreter-v*/**/*") if path.is_file()]


def test_uv_asks_each_python_once(build: Builder, tmp_path: Path, monkeypatch: Any) -> None:
    """A second environment with the same Python is built without asking its interpreter."""
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "uv"))
    build(Virtualenv(requirements=["gamma"]))
    asked = interpreters(tmp_path / "uv")
    assert asked
    build(Virtualenv(requirements=["gamma"], tags=["other"]))
    assert interpreters(tmp_path / "uv") == asked


def test_builds_at_the_same_time_have_a_link_each(tmp_path: Path) -> None:
    """No two builds share a link, and a build that finds no free one goes without."""
    python = running_python()
    with ExitStack() as stack:
        taken = []
        for number in range(20):
            directory = tmp_path / f"build-{number}"
            directory.mkdir()
            link = stack.enter_context(linked(str(tmp_path), str(directory), python))
            if link is not None:
                taken.append(link.path)
                assert Path(link.path).resolve() == directory.resolve()
        assert 1 < len(taken) < 20
        assert len(set(taken)) == len(taken)
    assert not [path for path in (tmp_path / "links").iterdir() if path.is_symlink()]
    with linked(str(tmp_path), str(tmp_path), python) as link:
        assert link is not None
        assert link.path == taken[0]


def test_other_python_has_other_links(tmp_path: Path) -> None:
    """uv never uses cached facts of one Python for another."""
    python = running_python()
    other = attrs.evolve(python, version="3.10.0")
    with linked(str(tmp_path), str(tmp_path), python) as first:
        pass
    with linked(str(tmp_path), str(tmp_path), other) as second:
        pass
    assert first is not None
    assert second is not None
    assert first.path != second.path


def test_link_is_not_free_while_a_process_may_use_it(tmp_path: Path) -> None:
    """The link of a killed build is not free until its child processes have ended."""
    python = running_python()
    with linked(str(tmp_path), str(tmp_path), python) as first:
        assert first is not None
        program = [sys.executable, "-c", "input()"]
        process = subprocess.Popen(program, stdin=subprocess.PIPE, pass_fds=[first.lock])
    try:
        with linked(str(tmp_path), str(tmp_path), python) as second:
            assert second is not None
            assert second.path != first.path
    finally:
        process.kill()
        process.communicate()
    with linked(str(tmp_path), str(tmp_path), python) as third:
        assert third is not None
        assert third.path == first.path


def test_uv_holds_the_lock_of_its_link(tmp_path: Path) -> None:
    """The command inherits the lock, past the shell that watches it."""
    printed: list[str] = []
    with linked(str(tmp_path), str(tmp_path), running_python()) as link:
        assert link is not None
        program = f"import os; print(os.path.realpath('/dev/fd/{link.lock}'))"
        code = run(
            [sys.executable, "-c", program],
            variables={},
            directory=str(tmp_path),
            on_line=printed.append,
            cancelled=Event(),
            inherited=[link.lock],
        )
    assert (code, printed) == (0, [f"{link.path}.lock"])
