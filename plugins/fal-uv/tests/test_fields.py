"""Fields of kinds of environments."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fal_core.errors import OptionError
from fal_uv.fields import masked_repr, to_absolute_path, to_layers, to_texts


def test_texts_become_a_tuple() -> None:
    """A list of anything else, or a text in place of one, is refused; credentials are masked."""
    assert to_texts(["a", "b"]) == ("a", "b")
    with pytest.raises(OptionError, match="not the str 'https://") as caught:
        to_texts("https://me:hunter2@host/simple")
    assert "hunter2" not in str(caught.value)
    wrong: Any = ["a", 3]
    with pytest.raises(OptionError, match="and it has 3"):
        to_texts(wrong)


def test_paths_become_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are found though the program goes to another directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/me")
    assert to_absolute_path(None) is None
    assert to_absolute_path("pins.txt") == str(tmp_path / "pins.txt")
    assert to_absolute_path("~/pins.txt") == "/home/me/pins.txt"


def test_requirements_are_parsed() -> None:
    """They may be in layers."""
    assert to_layers(()) == ()
    assert to_layers([" six "]) == ("six",)
    assert to_layers([["six"], ["attrs"]]) == (("six",), ("attrs",))


def test_credentials_are_shown_nowhere() -> None:
    """A representation has asterisks in their place."""
    assert masked_repr(("https://me:hunter2@host/simple",)) == "('https://***@host/simple',)"
