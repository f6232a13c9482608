"""Imports at the top of a program, of a package that only a virtual environment has."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("fal_env_virtualenv")
from fal_uv.testing import write_wheel  # it comes with the kind

PROGRAM = """
import sys
from fal_core import function, imports

{imports}

@function("virtualenv", requirements=["absent-demo @ {wheel}"], keep_alive=30)
def describe(number: int, sort: absent_demo.Sort | None = None, *, tag=absent_demo.tag) -> str:
    return f"{{version}} {{absent_demo.tag == tag}} {{number}}"

if __name__ == "__main__":
    print(describe(3))
    print(list(describe.map([4, 5])))
    assert "absent_demo" not in sys.modules
    try:
        absent_demo.main()
    except ModuleNotFoundError as error:
        print(error)
"""
BLOCK = "with imports():\n    import absent_demo\n    from absent_demo import version\n"


@pytest.fixture
def wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of a package that is installed nowhere."""
    monkeypatch.setenv("FAL_CORE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("UV_OFFLINE", "1")
    return write_wheel(tmp_path, "absent-demo", "1.0").as_uri()


def run(path: Path, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *command],
        capture_output=True,
        text=True,
        cwd=path.parent,
        timeout=600,
        check=False,
    )


def test_a_block(wheel: str, tmp_path: Path) -> None:
    """A program calls a function with what it cannot import itself, and is told so at a use."""
    path = tmp_path / "program.py"
    # Annotations name members of it as well, which the environment need not have.
    text = PROGRAM.format(imports=BLOCK, wheel=wheel)
    path.write_text(text.replace("absent_demo.Sort", "absent_demo.tag"))
    ran = run(path, str(path))
    assert ran.stdout.splitlines() == [
        "1.0 True 3",
        "['1.0 True 4', '1.0 True 5']",
        "absent_demo is not installed here: it is for 'describe', which runs on host 'local' "
        "in kind 'virtualenv'. Use it inside 'describe'.",
    ], ran.stderr


def test_the_command_line(wheel: str, tmp_path: Path) -> None:
    """``fal-core run`` runs the function of such a file, and says of a plain import what to do."""
    path = tmp_path / "program.py"
    path.write_text(
        PROGRAM.format(imports=BLOCK, wheel=wheel).replace(
            "absent_demo.Sort", "absent_demo.tag"
        )
    )
    ran = run(path, "-m", "fal_core.cli", "run", "program.py::describe", "3")
    path.write_text(PROGRAM.format(imports="import absent_demo\n", wheel=wheel))
    refused = run(path, "-m", "fal_core.cli", "run", "program.py::describe", "3")
    assert refused.returncode == 1
    assert refused.stderr.strip() == (
        "Error: program.py:5: absent_demo is in requirements of 'describe': import it in "
        "'describe', or under `with imports():`."
    )
    assert ran.stdout.strip() == "'1.0 True 3'", ran.stderr


@pytest.mark.skipif(sys.version_info < (3, 15), reason="Python has no lazy imports")
def test_lazy_imports(wheel: str, tmp_path: Path) -> None:
    """Lazy imports of Python travel as those of a block do."""
    path = tmp_path / "program.py"
    lazy = "lazy import absent_demo\nlazy from absent_demo import version\n"
    text = PROGRAM.format(imports=lazy, wheel=wheel)
    path.write_text(text.replace(", *, tag=absent_demo.tag", ", *, tag='py3-none-any'"))
    ran = run(path, str(path))
    assert ran.stdout.splitlines()[:2] == ["1.0 True 3", "['1.0 True 4', '1.0 True 5']"], ran
