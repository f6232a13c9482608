"""A full disk: senders get an error, and accepted requests are answered once there is room."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from isolate_proto import controller_pb2 as wire

pytestmark = pytest.mark.faults

NO_ROOM = "The disk of the server is full."

#: What is kept for clients with a key, in bytes.
RESERVE = 6 << 20


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A small disk."""
    place = tmp_path_factory.mktemp("disk")
    mount = ["mount", "-t", "tmpfs", "-o", "size=16m,mode=0700", "tmpfs", str(place)]
    if os.geteuid() or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("A disk cannot be mounted here, which takes root.")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


@pytest.fixture(scope="module")
def full(disk: Path, make_standing: Callable[..., Any]) -> Any:
    """A server whose data is on the small disk."""
    served_plane = make_standing(disk, "--disk-reserve", str(RESERVE))
    served_plane.deploy("app")
    served_plane.deploy("open", auth_mode=wire.PUBLIC)
    return served_plane


@contextlib.contextmanager
def filled(disk: Path, leave: int = 0) -> Iterator[None]:
    """Leave so many bytes free on the disk."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while not leave or shutil.disk_usage(disk).free > leave:
            file.write(bytes(4096))
    try:
        yield
    finally:
        ballast.unlink()


def submit_until_refused(served_plane: Any, size: int) -> tuple[dict[str, Any], httpx.Response]:
    """
    Submit requests of *size* until the disk is full; return the accepted ones and the
    response of the refused one.
    """
    accepted = {}
    with served_plane.client() as client:
        for number in range(5000):
            told = {"name": f"{size} {number}", "text": "x" * size}
            answer = client.post("/owner/app", json=told)
            if answer.status_code != 200:
                return accepted, answer
            accepted[answer.json()["request_id"]] = told
    raise AssertionError("There is room without end.")


def test_full_disk(full: Any, disk: Path):
    """
    While the disk is full, requests, deployments and uploads are refused with a sentence;
    accepted requests and responses that arrive meanwhile are kept, and available once there
    is room.
    """
    held = full.submit("app/hold", {"gate": "full", "name": "full"})
    full.begin("app", held)
    accepted: dict[str, Any] = {}
    with filled(disk):
        for size in (65536, 4096, 16):
            taken, refused = submit_until_refused(full, size)
            accepted |= taken
            assert (refused.status_code, refused.json()["detail"]) == (507, NO_ROOM)
        with pytest.raises(grpc.RpcError) as caught:
            full.deploy("app")
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert caught.value.details() == NO_ROOM
        with full.plane.client() as client:
            told = {"file_name": "large", "content_type": "text/plain"}
            begun = client.post("/storage/upload/initiate", json=told).json()
            upload = httpx.put(
                begun["upload_url"], content=bytes(1 << 20), trust_env=False, timeout=60
            )
        assert (upload.status_code, upload.json()["detail"]) == (507, NO_ROOM)
        full.open("full")
        # Its answer is tried to be kept, more than once.
        threading.Event().wait(1.5)
        assert full.status("app", held).json()["status"] == "IN_PROGRESS"
    assert full.finish("app", held).json() == {"cancelled": False}
    assert full.order().count("hold full") == 1
    for request, told in accepted.items():
        assert full.finish("app", request).json()["told"] == told
    assert full.finish("app", full.submit("app", {"name": "room"})).status_code == 200


def test_last_of_the_disk_is_for_keys(full: Any, disk: Path):
    """
    While little of the disk is free, requests without a key are refused, and so are large
    responses to those that were accepted before, while those with a key are served.
    """
    told = {"text": "x" * 100_000}
    held = full.submit("open/hold", {"gate": "reserve"})
    full.begin("open", held)
    before = full.submit("open", told, key="")
    with filled(disk, RESERVE // 2), full.client(key="") as stranger:

        def submit() -> httpx.Response:
            return stranger.post("/owner/open", json={})

        full.settle(lambda: submit().status_code != 200)
        assert (submit().status_code, "with a key" in submit().json()["detail"]) == (507, True)
        after = full.submit("open", told)
        full.open("reserve")
        assert full.finish("open", after).json()["told"] == told
        refused = full.finish("open", before)
        assert (refused.status_code, "with a key" in refused.json()["detail"]) == (507, True)
        full.settle(lambda: full.finish("open", held).status_code == 200)
    with full.client(key="") as stranger:
        full.settle(lambda: stranger.post("/owner/open", json={}).status_code == 200)


def test_start_on_a_full_disk(disk: Path, launch_program: Any, tmp_path: Path):
    """A server that has no room to start says so in one sentence, and ends."""
    with filled(disk):
        program = launch_program(disk / "another", errors=tmp_path / "errors")
        assert program.process.wait(60) == 1
        program.end()
    told = program.errors.read_text()
    assert "Traceback" not in told
