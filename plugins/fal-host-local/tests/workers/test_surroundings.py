"""What of this machine a worker has to see."""

from __future__ import annotations

from pathlib import Path

import attrs

from fal_core.calls import Call
from fal_core.environments import CurrentEnvironment
from fal_core.events import Sealed
from fal_core.options import Gateway, HostOptions
from fal_core.sealing import seal_function
from fal_host_local.workers.surroundings import find_folders


def make_call() -> Call:
    return Call(
        id="1",
        name="f",
        function=seal_function(len).sealed,
        arguments=Sealed(b""),
        environment=CurrentEnvironment(),
        host_options=HostOptions(),
        gateway=Gateway(),
        origin=__file__,
    )


def test_the_function_sees_where_it_is_written(tmp_path: Path):
    """The working directory and the project of the function are where they are here."""
    project = str(Path(__file__).resolve().parents[2])
    seen = find_folders(str(tmp_path), make_call())
    assert seen == {str(tmp_path): str(tmp_path), project: project}


def test_a_call_that_names_folders_sees_no_others(tmp_path: Path):
    """What a call names is all that it sees, and that may be nothing."""
    for folders in ({"/srv/one": "/data"}, {}):
        call = attrs.evolve(make_call(), folders=folders)
        assert find_folders(str(tmp_path), call) == folders
