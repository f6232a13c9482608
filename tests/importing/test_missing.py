"""What is said of modules that are not here."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from fal_core.importing.missing import explain_use
from fal_core.loading.targets import TargetImportError, load_target

HEAD = "from fal_core import function, imports\n"


def said(path: Path, text: str) -> str:
    """Return what loading a file with *text* says, after the place."""
    path.write_text(text)
    with pytest.raises(TargetImportError) as caught:
        load_target(f"{path}::f")
    assert caught.value.traceback == ""
    place, _, sentence = str(caught.value).partition(": ")
    assert place.rpartition(":")[0] == os.path.relpath(path)
    line = text.split("\n")[int(place.rpartition(":")[2]) - 1]
    assert "absent_package" in line
    return sentence


FUNCTION = "def f(): return absent_package.run()\n"
IN_F = "absent_package is in requirements of 'f': import it in 'f', or under `with imports():`."


@pytest.mark.parametrize(
    "declared",
    [
        "@function('virtualenv', requirements=['Absent.Package[extra]>=2'])\n",
        "@function('virtualenv', requirements=[['numpy'], ['absent-package']])\n",
        "COMMON = ['absent-package']\nALL = [*COMMON, 'numpy']\n"
        "@function('virtualenv', requirements=ALL)\n",
    ],
)
@pytest.mark.parametrize(
    "statement", ["import absent_package", "from absent_package.below import name"]
)
def test_an_import_of_a_requirement(tmp_path: Path, declared: str, statement: str) -> None:
    """A file that imports what only its function requires says where to import it."""
    assert said(tmp_path / "file.py", HEAD + statement + "\n" + declared + FUNCTION) == IN_F


def test_an_import_of_what_the_block_of_the_file_lists(tmp_path: Path) -> None:
    """So does one whose own block has it among its dependencies."""
    block = '# /// script\n# dependencies = ["absent-package[extra]>=2"]\n# ///\n'
    assert said(tmp_path / "file.py", block + "import absent_package\n" + FUNCTION) == (
        "absent_package is in the dependencies of file.py, which its functions have: import it "
        "in them, or under `with imports():`."
    )


def test_several_functions_and_applications(tmp_path: Path) -> None:
    """Functions and classes that require it are all named."""
    text = (
        "import absent_package\n"
        + HEAD
        + "@function('virtualenv', requirements=['absent-package'])\n"
        + FUNCTION
        + "class Reader:\n    requirements = ['absent_package==1']\n"
        "class Writer(Reader, requirements=['absent_package']): pass\n"
        "class Other:\n    requirements: list[str] = ['numpy']\n"
    )
    assert said(tmp_path / "file.py", text) == (
        "absent_package is in requirements of 'f', 'Reader' and 'Writer': import it in them, "
        "or under `with imports():`."
    )


def test_a_package_of_another_name(tmp_path: Path) -> None:
    """Where no requirement has the name of the module, one of them may still bring it."""
    text = "import absent_package\n" + HEAD
    text += "@function('virtualenv', requirements=['pillow'])\n" + FUNCTION
    assert said(tmp_path / "file.py", text) == (
        "There is no module absent_package here. If requirements of 'f' bring it, import it "
        "in 'f', or under `with imports():`."
    )


def test_an_import_of_a_local_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file that fails is named, also if the function is declared in the one that imports it."""
    (tmp_path / "here_helpers.py").write_text("\nimport absent_package\n")
    (tmp_path / "file.py").write_text(
        "import here_helpers\n"
        + HEAD
        + "@function('virtualenv', requirements=['absent-package'])\n"
        + FUNCTION
    )
    monkeypatch.chdir(tmp_path)
    with pytest.raises(TargetImportError) as caught:
        load_target("file.py::f")
    assert str(caught.value) == f"here_helpers.py:2: {IN_F}"
    assert "here_helpers" not in sys.modules


@pytest.mark.parametrize(
    "imported",
    [
        "with imports():\n    import absent_package\n",
        pytest.param(
            "lazy import absent_package\n",
            marks=pytest.mark.skipif(
                sys.version_info < (3, 15), reason="Python has no lazy imports"
            ),
        ),
    ],
    ids=["block", "lazy"],
)
def test_a_use_at_the_top(tmp_path: Path, imported: str) -> None:
    """
    What is imported in a block, or lazily, and used while the file is loaded says where it is
    for.
    """
    text = (
        HEAD
        + imported
        + "@function('virtualenv', requirements=['absent-package'])\n"
        + FUNCTION
        + "absent_package.run()\n"
    )
    assert said(tmp_path / "file.py", text) == (
        "absent_package is not installed here: it is for 'f', which runs on host 'local' in "
        "kind 'virtualenv'. Use it inside 'f'."
    )
    early = text.replace("absent_package.run()\n", "").replace(
        "@function", "VERSION = absent_package.run()\n@function"
    )
    assert said(tmp_path / "early.py", early) == (
        "absent_package is not installed here. Use it inside 'f'."
    )


def test_nothing_else_is_explained(tmp_path: Path) -> None:
    """
    A file without requirements, and an import that fails inside a module that is there, are
    told as they are.
    """
    plain = tmp_path / "plain.py"
    plain.write_text("import absent_package\n")
    with pytest.raises(TargetImportError, match="could not be imported: ModuleNotFound"):
        load_target(f"{plain}::f")
    member = tmp_path / "member.py"
    text = "import json.absent_package\n" + HEAD
    member.write_text(text + "@function('virtualenv', requirements=['numpy'])\n" + FUNCTION)
    with pytest.raises(TargetImportError, match="could not be imported: ModuleNotFound"):
        load_target(f"{member}::f")


def test_a_use_where_nothing_is_declared() -> None:
    """Without functions the sentence says what to declare."""
    assert explain_use("absent_package", {}) == (
        "absent_package is not installed here. Use it inside a function that has it in "
        "requirements."
    )
