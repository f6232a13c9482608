"""Solutions: what of a channel or a lock is handed on to uv."""

from __future__ import annotations

import pytest

from fal_core.errors import EnvironmentBuildError
from fal_env_conda.building.solutions import File


def test_a_place_says_nothing_but_a_place():
    """
    Where a channel or a lock says that a wheel is, no variable of the caller is put in, and no
    other line follows.
    """
    hostile = "https://example.org/${HOME}/a b\n--index-url https://evil.org/$x-1.whl"
    pin = File(name="x", version="1", location=hostile, sha256="00").pin
    assert pin == (
        "x @ https://example.org/%24%7BHOME%7D/a%20b%0A--index-url%20https://evil.org/%24x-1.whl"
        " --hash=sha256:00"
    )
    plain = "git+https://me@example.org/a%20b.git@1f#subdirectory=c&egg=~d"
    assert File(name="x", version="1", location=plain).pin == f"x @ {plain}"


def test_a_name_is_a_name():
    """The name of a file of a channel cannot add a line, or an option, to what uv is given."""
    for name in ("x\n-r", "--index-url", "x y", ""):
        with pytest.raises(EnvironmentBuildError, match="is no name of a package"):
            assert File(name=name, version="1", location="https://example.org/x.whl").pin
    pin = File(name="x.y[z]", version="1", location="https://h/x").pin
    assert pin == "x.y[z] @ https://h/x"
