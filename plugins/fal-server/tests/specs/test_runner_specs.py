"""
Specs: what a runner runs, read from a request.
"""

from __future__ import annotations

import pytest

from fal_server.errors import Invalid
from fal_server.specs.runner_specs import check_name


@pytest.mark.parametrize("name", ["", "a b", "a/b", "a" * 129])
def test_invalid_name_of_an_application(name):
    """
    The error for an invalid name says which names are valid.
    """
    with pytest.raises(Invalid, match=r"1 to 128 characters, none of them a space"):
        check_name(name)
    assert check_name("a.b-c_d") == "a.b-c_d"


def look() -> dict[str, str]:
    """
    Return the environment variables and the working directory.
    """
    import os

    return {**os.environ, "HERE": os.getcwd(), "PID": str(os.getpid())}


@pytest.mark.parametrize("mount", ["/", "/etc", "data", "/data/../etc", "/database", ""])
def test_mounts_outside_of_data_are_refused(served_plane, mount):
    """
    Only ``/data`` and directories below it can be mounted.
    """
    with pytest.raises(Exception, match="/data"):
        served_plane.run(look, change=lambda request: request.data_mounts.append(mount))
