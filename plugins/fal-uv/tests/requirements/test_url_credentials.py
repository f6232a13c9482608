"""Credentials in URLs."""

from __future__ import annotations

import pytest

from fal_uv.requirements.url_credentials import mask, strip


@pytest.mark.parametrize(
    ("text", "masked", "plain"),
    [
        ("https://me:pw@host/x", "https://***@host/x", "https://host/x"),
        (
            "x @ git+https://ghp_t@host/x@v1",
            "x @ git+https://***@host/x@v1",
            "x @ git+https://host/x@v1",
        ),
        ("git+ssh://git@host/x", "git+ssh://git@host/x", "git+ssh://git@host/x"),
        (
            "https://host/x?token=abc&y=1",
            "https://host/x?token=***&y=1",
            "https://host/x?token=&y=1",
        ),
        ("https://host/x@1.0", "https://host/x@1.0", "https://host/x@1.0"),
        ("mail me@host", "mail me@host", "mail me@host"),
    ],
)
def test_credentials_are_found(text: str, masked: str, plain: str) -> None:
    """Passwords and tokens in URLs are masked or removed; other names are not."""
    assert (mask(text), strip(text)) == (masked, plain)
