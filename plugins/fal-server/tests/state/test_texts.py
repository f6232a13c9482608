"""Text that can be stored and sent."""

from __future__ import annotations

import pytest

from fal_server.state.texts import valid_text


@pytest.mark.parametrize(
    ("text", "valid"),
    [("plain", "plain"), ("zwölf 😀", "zwölf 😀"), ("half \ud83d of", "half ? of")],
)
def test_text_can_be_encoded(text: str, valid: str):
    """Halves of surrogate pairs are replaced, and all else stays."""
    assert valid_text(text) == valid
    assert valid_text(text).encode()
