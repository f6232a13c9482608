"""What import statements bind, found by their parts."""

from __future__ import annotations

import sys
import xml.etree.ElementTree
from pathlib import Path

import pytest

from fal_core_worker.importing.finding import ImportRaised, find, is_missing, open_reference


def test_parts_are_found_as_statements_bind_them() -> None:
    """A package comes with what is below it, a module by its whole name, a member by its path."""
    assert find(("xml", ("xml.etree.ElementTree",), None)) is xml
    assert find(("xml.etree.ElementTree", (), None)) is xml.etree.ElementTree
    assert find(("xml.etree", (), "ElementTree")) is xml.etree.ElementTree
    assert find(("xml.etree", (), "ElementTree.Element")) is xml.etree.ElementTree.Element
    with pytest.raises(ImportError, match=r"cannot import name 'nothing' from 'xml\.etree'"):
        find(("xml.etree", (), "nothing"))


def test_missing_is_what_was_asked_for() -> None:
    """A module is missing if it or a package around it is, and not what it imports itself."""
    asked = ("one", ("one.two.three",), None)
    assert [
        is_missing(asked, ModuleNotFoundError(name=name))
        for name in ("one", "one.two", "one.two.three", "one.other", "on", "two")
    ] == [True, True, True, False, False, False]
    assert is_missing(("one", (), "two.attribute"), ModuleNotFoundError(name="one.two"))


def test_errors_of_modules_are_told_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pickle that is opened tells what is not there from what raises as it is imported."""
    (tmp_path / "here_raising.py").write_text("raise RuntimeError('no driver')\n")
    (tmp_path / "here_broken.py").write_text("import absent_inside\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError):
        open_reference("absent_one", (), None)
    with pytest.raises(ImportRaised, match="RuntimeError: no driver") as raised:
        open_reference("here_raising", (), None)
    assert isinstance(raised.value.error, RuntimeError)
    with pytest.raises(ImportRaised, match="absent_inside"):
        open_reference("here_broken", (), "name")
    assert not {"here_raising", "here_broken"} & set(sys.modules)
