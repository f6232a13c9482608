"""Replicas: which of them can be on one database together."""

from __future__ import annotations

import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import attrs
import pytest

from fal_server.claims.claims import Claim
from fal_server.claims.findings import find_problems
from fal_server.claims.replicas import Replica, check_others, name_files, name_machine
from fal_server.errors import ServerError

ONE = Replica(
    id="one",
    address="10.0.0.1",
    ports={"api": 1},
    authority="",
    machine="a",
    files="s3://bucket",
    version="1",
)


@pytest.mark.parametrize(
    ("mine", "theirs", "sentence"),
    [
        ({"address": "0.0.0.0"}, {}, "'--advertise'"),
        ({"address": "127.0.0.1", "machine": "b"}, {}, "cannot reach this one at 127.0.0.1"),
        ({"machine": "b"}, {"address": "::1"}, "is said to be reached at ::1"),
        ({"files": "s3://other"}, {}, "Start all with the same '--files'"),
    ],
)
def test_replicas_that_cannot_be_together(
    mine: dict[str, Any], theirs: dict[str, Any], sentence: str
):
    """A replica is refused that the others cannot reach, or that keeps files elsewhere."""
    with pytest.raises(ServerError, match=sentence):
        check_others(attrs.evolve(ONE, **mine), [attrs.evolve(ONE, id="other", **theirs)])


@pytest.mark.parametrize(
    ("mine", "theirs"),
    [
        ({"machine": "b"}, {}),
        ({"address": "127.0.0.1"}, {"address": "localhost"}),
        ({"address": "127.0.0.1", "machine": "b", "files": "x"}, {"silence": 60.0}),
    ],
)
def test_replicas_that_can_be_together(mine: dict[str, Any], theirs: dict[str, Any]):
    """Those of one machine may use loopback, and those that have gone hinder nobody."""
    check_others(attrs.evolve(ONE, **mine), [attrs.evolve(ONE, id="other", **theirs)])


def test_problems_of_replicas():
    """
    A clock that is wrong, an address that cannot be reached, different versions, and that
    nobody decides are told; replicas that are silent are not looked at.
    """
    with socket.create_server(("127.0.0.1", 0)) as listener:
        here = {"address": "127.0.0.1", "ports": {"api": listener.getsockname()[1]}}
        good = attrs.evolve(ONE, **here)
        decides = Claim(token=1, holder="one", is_ready=True, expires_in=2.0)
        assert find_problems([good, attrs.evolve(ONE, silence=60.0)], decides) == []
        wrong = attrs.evolve(good, id="two", clock=-60.0, version="2")
        (clock, version) = find_problems([good, wrong], decides)
        assert "two is 60.0 s ahead of that of the database" in clock
        assert "(1, 2)" in version
    unreached, nobody = find_problems([good], attrs.evolve(decides, expires_in=-1.0))
    assert f"one cannot be reached at 127.0.0.1:{here['ports']['api']}" in unreached
    assert nobody.startswith("No replica decides")


def test_machine_has_one_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Servers that start at once on one machine give it the same name, and keep it."""
    monkeypatch.setenv("FAL_CORE_CACHE", str(tmp_path / "cache"))
    together = threading.Barrier(4)

    def name(_: int) -> str:
        together.wait()
        return name_machine()

    with ThreadPoolExecutor(4) as threads:
        names = set(threads.map(name, range(4)))
    assert names == {name_machine()}


def test_names_of_files_have_no_password():
    """What others are told of where files are has no credentials."""
    assert name_files("s3://me:secret@bucket/x", Path("/data"), "a") == "s3://bucket/x"
    assert name_files(None, Path("/data"), "a") == "/data of machine a"
