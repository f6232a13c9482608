"""The Python that an environment is made from."""

from __future__ import annotations

import os
import sys

import pytest

from fal_uv.requirements.pythons import Python, running_python


@pytest.mark.parametrize(
    ("version", "abiflags", "wanted", "fits"),
    [
        ("3.11.7", "", "3", True),
        ("3.11.7", "", "3.11", True),
        ("3.11.7", "", " 3.11.7 ", True),
        ("3.11.7", "", "3.1", False),
        ("3.11.7", "", "3.11.8", False),
        ("3.13.1", "t", "3.13t", True),
        ("3.13.1", "t", "3.13", False),
        ("3.13.1", "", "3.13t", False),
    ],
)
def test_versions_that_fit(version: str, abiflags: str, wanted: str, fits: bool) -> None:
    """A version may leave numbers out; free-threaded builds fit only if they are asked for."""
    python = Python(executable="/usr/bin/python", version=version, abiflags=abiflags)
    assert python.fits(wanted) is fits


def test_running_python_is_no_virtual_environment() -> None:
    """The running Python is the one that a virtual environment is made from."""
    python = running_python()
    assert python.minor_version == f"{sys.version_info.major}.{sys.version_info.minor}"
    assert os.path.realpath(python.executable) == python.executable
    assert os.path.isdir(os.path.join(sys.prefix, python.library))
