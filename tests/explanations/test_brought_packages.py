"""Packages that others bring."""

from __future__ import annotations

from pathlib import Path

import pytest

from fal_core.explanations.brought_packages import brought_packages


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have packages installed that require each other."""
    for name, requires in {
        "top_thing": ["Middle.Thing[fast,other]>=1", 'odd ; extra == "rare"'],
        "middle_thing": ['quick-thing>=2 ; extra == "fast" and python_version > "3"', "leaf"],
        "leaf": ['top-thing ; sys_platform == "linux"'],
        "quick_thing": [],
    }.items():
        folder = tmp_path / f"{name}-1.0.dist-info"
        folder.mkdir()
        lines = [
            f"Name: {name}",
            "Version: 1.0",
            *(f"Requires-Dist: {line}" for line in requires),
        ]
        (folder / "METADATA").write_text("Metadata-Version: 2.1\n" + "\n".join(lines) + "\n")
    monkeypatch.syspath_prepend(tmp_path)


@pytest.mark.usefixtures("installed")
def test_packages_bring_what_they_require() -> None:
    """A package brings what it requires in turn, with the extras that are asked for."""
    everything = {"top-thing", "middle-thing", "quick-thing", "leaf"}
    assert brought_packages(["top_thing==1.0"]) == (everything, True)
    assert brought_packages(["middle-thing"]) == (everything, True)
    assert brought_packages(["quick_thing"]) == ({"quick-thing"}, True)
    assert brought_packages([]) == (set(), True)
    assert brought_packages(["top_thing[Rare]"]) == ({*everything, "odd"}, True)
    assert brought_packages(["leaf", "absent"]) == ({*everything, "absent"}, False)
