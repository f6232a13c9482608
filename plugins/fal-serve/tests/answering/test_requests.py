"""Requests: headers that are parsed when they are used."""

import pytest

from fal_serve.answering import requests


@pytest.mark.parametrize("text", ["{", "[1]", '"x"', "[" * 100_000])
def test_preference_that_is_no_object_is_none(text, caplog):
    """A malformed preference counts as None, with a warning."""
    raw = [(b"x-fal-object-lifecycle-preference", text.encode())]
    assert requests.IncomingRequest("id", raw).lifecycle_preference is None
    assert "x-fal-object-lifecycle-preference" in caplog.text
