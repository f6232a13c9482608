"""File paths: those that are refused, before anything is stored."""

from __future__ import annotations

import os
from pathlib import Path

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st
from isolate_proto import HostedRun, ListAliasesRequest, RegisterApplicationRequest
from programs import to_metadata
from served import fill

from fal_server.errors import Invalid
from fal_server.specs.file_paths import check_mount, read_files, safe_path

HASH, OTHER = "a" * 64, "b" * 64


@given(st.text(max_size=60))
def test_safe_paths_stay_inside(path):
    """Any path stays below its folder or is refused."""
    try:
        found = safe_path(path)
    except Invalid:
        return
    inside = os.path.normpath(Path("/folder") / found)
    assert inside.startswith("/folder/")


@pytest.mark.parametrize(
    "path",
    [
        "",
        ".",
        "./",
        "/etc/passwd",
        "../a",
        "a/../../b",
        "a\\b",
        "a\0b",
        "\ud800",
        "a" * 256,
        "ä" * 128,
        "a/" * 1600,
    ],
    ids=[
        *("empty", "point", "points", "absolute", "outside", "inside", "backslash", "zero"),
        *("surrogate", "name", "bytes", "long"),
    ],
)
def test_path_that_no_file_may_have(path: str):
    """A path that leads elsewhere, or that no file system takes, is refused with what it is."""
    with pytest.raises(Invalid, match="is not a path for a file of an application: it must"):
        safe_path(path)


def test_files_of_an_application():
    """Paths are read in their plain form, and a file that is named twice counts once."""
    files = [(HASH, "a/./b"), (OTHER, "ä" * 127), (HASH, "a//b"), (HASH, "a/c")]
    assert read_files(files) == ((HASH, "a/b"), (OTHER, "ä" * 127), (HASH, "a/c"))


@pytest.mark.parametrize(
    ("files", "told"),
    [
        ([(HASH, "a"), (OTHER, "./a")], "Two files of the application are called 'a'"),
        ([(HASH, "a/b/c"), (HASH, "a")], "'a' is a file of the application"),
        ([("../x", "a")], "'../x' is not the hash of a file, for 'a'"),
    ],
)
def test_files_that_cannot_be_beside_each_other(files: list[tuple[str, str]], told: str):
    """No file is in the place of another one, or of a directory."""
    with pytest.raises(Invalid, match=told):
        read_files(files)


@pytest.mark.parametrize("path", ["/etc/passwd", "../a", "", "a" * 300])
def test_bad_path_is_refused_before_anything_is_deployed(plane, path: str):
    """
    A deployment, and a run, with such a path is refused at once: no revision is stored, and
    no alias points to it.
    """

    def nothing() -> None:
        pass

    for name, request in (
        ("RegisterApplication", RegisterApplicationRequest(application_name="paths")),
        ("Run", HostedRun(application_name="paths")),
    ):
        fill(request, nothing)
        request.files.add(hash=HASH, relative_path=path)
        with pytest.raises(grpc.RpcError) as caught:
            list(plane.stream(name, request))
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert "is not a path for a file" in caught.value.details()
    assert not plane.call("ListAliases", ListAliasesRequest()).aliases


def test_path_that_is_no_text(plane):
    """A path that is not UTF-8 is refused as well."""
    request = RegisterApplicationRequest(application_name="paths")
    request.files.add(hash=HASH, relative_path="caf")
    content = request.SerializeToString().replace(b"caf", b"c\xffe")
    with grpc.insecure_channel(plane.address) as channel:
        call = channel.unary_stream("/controller.IsolateController/RegisterApplication")
        with pytest.raises(grpc.RpcError) as caught:
            list(call(content, metadata=to_metadata(plane.key), timeout=60))
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize(
    "path", ["/data/\0", "/data/" + "a" * 4096, "//data", "/data/a/../../etc"]
)
def test_path_that_cannot_be_mounted(path: str):
    """A path that could lead elsewhere, or that no system takes, is refused."""
    with pytest.raises(Invalid, match="Only /data and directories in it can be mounted"):
        check_mount(path)
    assert check_mount("/data/a..b") == "/data/a..b"
