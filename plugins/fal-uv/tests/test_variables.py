"""Environment variables that say yes or no."""

from __future__ import annotations

import pytest

from fal_uv.variables import is_set


@pytest.mark.parametrize(
    ("value", "says"),
    [("1", True), ("True", True), (" on ", True), ("0", False), ("no", False), ("", False)],
)
def test_words_for_yes(monkeypatch: pytest.MonkeyPatch, value: str, says: bool) -> None:
    """Any of uv's words for yes counts; what is not set says no."""
    assert not is_set("SOME_VARIABLE")
    monkeypatch.setenv("SOME_VARIABLE", value)
    assert is_set("SOME_VARIABLE") is says
