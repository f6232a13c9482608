"""Files in which users declare machine types: which one counts."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from fal_core import function
from fal_core.machines import list_machines, resolve_machine
from fal_machines.entries import MachineFileError
from fal_machines.files import VARIABLE, find_document

PROGRAM = "from fal_core.machines import resolve_machine; print(resolve_machine('BIG').cpus)"


def declare(path: Path, cpus: int, table: str = "tool.fal-core.machines") -> Path:
    """Write a file that declares the machine type ``BIG``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"[{table}.BIG]\ncpus = {cpus}\n")
    return path


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory of a project, in which this process is."""
    monkeypatch.delenv(VARIABLE, raising=False)
    declare(tmp_path / "project" / "pyproject.toml", 3)
    monkeypatch.chdir(tmp_path / "project")
    return tmp_path / "project"


def test_types_of_the_project_are_known(project: Path) -> None:
    """The table of the project's file adds machine types, which can then be declared."""
    machine = resolve_machine("BIG")
    assert (machine.cpus, machine.source) == (3, str(project / "pyproject.toml"))
    assert machine in list_machines()
    function("current", machine_type=["BIG", "XS"])


def test_the_nearest_project_that_declares_types_counts(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Projects inside of the project that declare none are passed over."""
    inner = project / "packages" / "inner"
    inner.mkdir(parents=True)
    (inner / "pyproject.toml").write_text('[project]\ndependencies = ["fal-core[machines]"]\n')
    monkeypatch.chdir(inner)
    assert resolve_machine("BIG").cpus == 3
    declare(inner / "pyproject.toml", 4)
    assert resolve_machine("BIG").cpus == 4


def test_a_change_is_seen(project: Path) -> None:
    """A process that runs on sees what is written meanwhile."""
    assert resolve_machine("BIG").cpus == 3
    declare(project / "pyproject.toml", 1000)
    assert resolve_machine("BIG").cpus == 1000


def test_the_project_of_the_program_counts_first(project: Path, tmp_path: Path) -> None:
    """A program has the types of its own project, wherever it is started."""
    declare(tmp_path / "other" / "pyproject.toml", 5)
    program = tmp_path / "other" / "src" / "program.py"
    program.parent.mkdir()
    program.write_text(PROGRAM)
    assert subprocess.check_output([sys.executable, str(program)], cwd=project) == b"5\n"
    assert subprocess.check_output([sys.executable, "-c", PROGRAM], cwd=project) == b"3\n"


def test_the_variable_names_the_file_that_counts(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file of its own has its tables at the top, and a project's has those of the project."""
    monkeypatch.setenv(VARIABLE, str(declare(tmp_path / "mine.toml", 7, "machines")))
    assert resolve_machine("BIG").cpus == 7
    other = declare(tmp_path / "other" / "pyproject.toml", 8)
    monkeypatch.setenv(VARIABLE, os.path.relpath(other))
    assert resolve_machine("BIG").cpus == 8


def test_a_file_that_is_not_there_is_an_error(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A variable that names no file is told, where a machine type is declared."""
    monkeypatch.setenv(VARIABLE, "absent.toml")
    with pytest.raises(MachineFileError, match=f"although {VARIABLE} names it") as caught:
        function("current", machine_type="XS")
    assert caught.value.path == str(project / "absent.toml")


def test_a_table_at_the_wrong_place_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A type that is written beside the table of types is not overlooked."""
    path = tmp_path / "mine.toml"
    path.write_text("[machines.A]\n[BIG]\ncpus = 3\n")
    monkeypatch.setenv(VARIABLE, str(path))
    with pytest.raises(MachineFileError) as caught:
        resolve_machine("BIG")
    assert str(caught.value) == (
        f"{path}, line 2: 'BIG' is no machine type: write [machines.BIG]."
    )


def test_a_mistake_is_raised_by_those_who_ask(project: Path) -> None:
    """
    Whoever lists, resolves or declares a machine type gets the error of the file; a function
    that names none is not concerned.
    """
    (project / "pyproject.toml").write_text("[tool.fal-core.machines.BIG]\ncpu = 3\n")
    for ask in (
        list_machines,
        lambda: resolve_machine("XS"),
        lambda: function("current", machine_type="XS"),
    ):
        with pytest.raises(MachineFileError, match=r"pyproject\.toml, line 2: Unknown key"):
            ask()
    function("current")


def test_a_project_that_says_nothing_of_this_is_not_parsed(project: Path) -> None:
    """A broken file of a project without machine types is nobody's error here."""
    (project / "pyproject.toml").write_text("[project\n")
    found = find_document()
    assert found is None or Path(found.path).parent not in (project, *project.parents)


def test_a_directory_that_was_removed_has_no_project(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process may be in a directory that is no more."""
    monkeypatch.delenv(VARIABLE, raising=False)
    gone = tmp_path / "gone"
    gone.mkdir()
    program = f"import os; os.rmdir({str(gone)!r}); {PROGRAM.replace('BIG', 'XS')}"
    assert subprocess.check_output([sys.executable, "-c", program], cwd=gone) == b"0.5\n"
