"""Calls that leave out archives."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from fal_core import function
from fal_host_serverless import FalServerlessHost
from fal_host_serverless.running import pickled_calls
from fal_host_serverless.running.lean_calls import LeanCalls


def sizes_sent(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list that grows by the size of each pickle that is sent."""
    sizes: list[int] = []
    seal = pickled_calls.seal

    def measured(*args: Any, **kwargs: Any) -> bytes:
        sealed = seal(*args, **kwargs)
        sizes.append(len(sealed))
        return sealed

    monkeypatch.setattr(pickled_calls, "seal", measured)
    return sizes


def test_sources_travel_once(host: Any, monkeypatch: pytest.MonkeyPatch):
    """Archives that a runner has are not sent with later calls."""

    @function("virtualenv", host=host)
    def double(x: int) -> int:
        return x * 2

    sizes = sizes_sent(monkeypatch)
    assert [double(1), double(2), double(3)] == [2, 4, 6]

    whole, *lean = sizes
    assert len(lean) == 2
    assert all(size * 2 < whole for size in lean)


def test_runner_that_lacks_sources_is_sent_them(
    address: str, rest: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """
    A runner that lacks an archive is sent the whole call, which runs once; inputs are uploaded
    once.
    """
    name = f"beside_{os.urandom(4).hex()}"
    (tmp_path / f"{name}.py").write_text("ANSWER = 42\n")
    monkeypatch.syspath_prepend(tmp_path)
    marks = tmp_path / "marks"
    host = FalServerlessHost(address)

    def answer(path: str) -> int:
        with open(path, "a") as file:
            file.write("run\n")
        return int(__import__(name).ANSWER)

    isolated = function(
        "virtualenv",
        host=host,
        local_python_modules=[name],
        app_files=[f"{name}.py"],
        app_files_context_dir=str(tmp_path),
    )(answer)
    # As if another runner had had it.
    monkeypatch.setattr(host.lean_calls, "may_be_lean", lambda call: not sizes)
    sizes = sizes_sent(monkeypatch)

    assert isolated(str(marks)) == 42
    assert rest.asked.count(("POST", "/files/missing_hashes")) == 1

    assert len(sizes) == 2
    assert marks.read_text() == "run\n"


def test_many_runners_are_sent_all_of_each_call(host: Any):
    """After two runners lacked archives, every call is sent whole."""

    @function("virtualenv", host=host)
    def nothing() -> None: ...

    lean_calls = LeanCalls()
    call = nothing.make_launcher().call(((), {}))
    assert not lean_calls.may_be_lean(call)
    for _ in range(2):
        lean_calls.note_delivered(call)
        assert lean_calls.may_be_lean(call)
        lean_calls.note_missing(call)
        assert not lean_calls.may_be_lean(call)

    lean_calls.note_delivered(call)
    assert not lean_calls.may_be_lean(call)
