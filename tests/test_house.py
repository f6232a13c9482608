"""The measures of the structure, on packages of a few lines."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from house.budgets import (  # noqa: E402  # the path comes first
    BUDGETS,
    find_lonely,
    find_overdrawn,
    find_repeated,
    measure_texts,
)
from house.imports import Module, find_packages, read_modules  # noqa: E402  # as above

sys.path.remove(str(ROOT / "tests"))

ReadFiles = Callable[[Mapping[str, str]], dict[str, Module]]


@pytest.fixture
def read_files(tmp_path: Path) -> ReadFiles:
    """Return the modules of a package ``small`` with the files that are given."""

    def read(files: Mapping[str, str]) -> dict[str, Module]:
        for name, text in {"__init__.py": "", **files}.items():
            path = tmp_path / "small" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return read_modules({"small": tmp_path / "small"})

    return read


def test_texts_are_within_their_budgets() -> None:
    """What the files of the repository give is within its budget, and each measure has one."""
    measured = measure_texts(read_modules(find_packages()))
    assert list(find_overdrawn(measured)) == []


def test_what_has_no_budget_or_is_above_it_is_told() -> None:
    """Each measure above its budget is told with both figures, and one that has none is told."""
    contract = BUDGETS["contract"]
    told = list(find_overdrawn({"contract": contract + 1, "public names": 1, "fal_new": 7}))
    assert told == [
        f"contract: {contract + 1:,}, and the budget in tests/house/budgets.py "
        f"is {contract:,}.",
        "fal_new: 7, and tests/house/budgets.py has no budget for it.",
    ]


def test_a_module_with_one_user_in_its_folder_is_lonely(read_files: ReadFiles) -> None:
    """Of a folder's modules the one that a neighbour alone imports is found, with the neighbour."""
    modules = read_files(
        {
            "one/__init__.py": "",
            "one/user.py": "from small.one import lonely, shared\n",
            "one/lonely.py": "",
            "one/shared.py": "",
            "one/other.py": "def look():\n    from small.one.shared import something\n",
            "two.py": "from small.one import other\n",
        }
    )
    assert list(find_lonely(modules)) == [("small.one.lonely", "small.one.user")]


def test_names_in_several_folders_are_counted(read_files: ReadFiles) -> None:
    """The last names of modules that several have are counted, those of folders are not."""
    modules = read_files(
        {
            f"{folder}/{name}.py": ""
            for folder in ("one", "two")
            for name in ("same", "__init__")
        }
        | {"one/other.py": ""}
    )
    assert find_repeated(modules) == {"same": 2}
