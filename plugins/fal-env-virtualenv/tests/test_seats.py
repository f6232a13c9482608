"""
The paths at which uv sees environments while they are built.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from threading import Event
from typing import Any

import attrs

from fal_env_virtualenv import Virtualenv, seats, tools
from fal_env_virtualenv.pythons import Python, find_python

Builder = Callable[..., Any]


def here(root: Path) -> Python:
    return find_python(None, str(root))


def interpreters(uv_cache: Path) -> list[Path]:
    """
    Return what uv keeps of the interpreters that it has asked.
    """
    return [path for path in uv_cache.glob("interpreter-v*/**/*") if path.is_file()]


def test_uv_asks_each_python_once(build: Builder, tmp_path: Path, monkeypatch: Any) -> None:
    """
    A second environment of a Python is built without its interpreter being started.
    """
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "uv"))
    build(Virtualenv(requirements=["gamma"]))
    asked = interpreters(tmp_path / "uv")
    assert asked
    build(Virtualenv(requirements=["gamma"], tags=["other"]))
    assert interpreters(tmp_path / "uv") == asked


def test_builds_at_once_have_a_seat_each(tmp_path: Path) -> None:
    """
    No two builds are led through one seat, and one that finds none free does without.
    """
    python = here(tmp_path)
    with ExitStack() as stack:
        taken = []
        for number in range(20):
            directory = tmp_path / f"place-{number}"
            directory.mkdir()
            seat = stack.enter_context(seats.taken(str(tmp_path), str(directory), python))
            if seat is not None:
                taken.append(seat[0])
                assert Path(seat[0]).resolve() == directory.resolve()
        assert 1 < len(taken) < 20
        assert len(set(taken)) == len(taken)
    assert not [path for path in (tmp_path / "seats").iterdir() if path.is_symlink()]
    with seats.taken(str(tmp_path), str(tmp_path), python) as seat:
        assert seat is not None
        assert seat[0] == taken[0]


def test_other_python_has_other_seats(tmp_path: Path) -> None:
    """
    uv never takes the answer of one Python for that of another.
    """
    python = here(tmp_path)
    other = attrs.evolve(python, version="3.10.0")
    with seats.taken(str(tmp_path), str(tmp_path), python) as first:
        pass
    with seats.taken(str(tmp_path), str(tmp_path), other) as second:
        pass
    assert first is not None
    assert second is not None
    assert first[0] != second[0]


def test_seat_is_not_free_while_a_process_may_use_it(tmp_path: Path) -> None:
    """
    A build that is killed keeps its seat until what it has started is gone.
    """
    python = here(tmp_path)
    with seats.taken(str(tmp_path), str(tmp_path), python) as first:
        assert first is not None
        program = [sys.executable, "-c", "input()"]
        process = subprocess.Popen(program, stdin=subprocess.PIPE, pass_fds=first[1:])
    try:
        with seats.taken(str(tmp_path), str(tmp_path), python) as second:
            assert second is not None
            assert second[0] != first[0]
    finally:
        process.kill()
        process.communicate()
    with seats.taken(str(tmp_path), str(tmp_path), python) as third:
        assert third is not None
        assert third[0] == first[0]


def test_uv_holds_the_seat_it_is_led_through(tmp_path: Path) -> None:
    """
    The descriptor of a seat reaches the command, past the shell that watches it.
    """
    said: list[str] = []
    with seats.taken(str(tmp_path), str(tmp_path), here(tmp_path)) as seat:
        assert seat is not None
        program = f"import os; print(os.path.realpath('/dev/fd/{seat[1]}'))"
        code = tools.run(
            [sys.executable, "-c", program],
            variables={},
            directory=str(tmp_path),
            heard=said.append,
            cancelled=Event(),
            inherited=seat[1:],
        )
    assert (code, said) == (0, [f"{seat[0]}.lock"])
