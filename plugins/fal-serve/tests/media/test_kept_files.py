"""Kept files: what a service serves itself."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest

from fal_serve.media.errors import FileUploadException
from fal_serve.media.kept_files import KeptFile, KeptFiles, find_own, keeping


def keep(
    kept: KeptFiles, content: bytes | Path, name: str = "a", seconds: float | None = None
) -> KeptFile:
    """Keep a file."""
    return kept.add(content, name=name, content_type="text/plain", seconds=seconds)


def test_content_is_kept_once(tmp_path: Path):
    """
    A content is on the disk once, whatever its names; each name has its own URL, which is
    the same each time, and another one in another service.
    """
    kept, source = KeptFiles(tmp_path), tmp_path.with_name("source")
    source.write_bytes(b"content")
    one, two, again = keep(kept, b"content"), keep(kept, b"content", "b"), keep(kept, source)
    assert len({one.id, two.id, again.id}) == 2
    assert one.id == again.id
    assert [each.name for each in tmp_path.iterdir()] == [one.path.name]
    assert one.path.read_bytes() == b"content"
    other = KeptFiles(tmp_path.with_name("other"))
    (tmp_path.with_name("other")).mkdir()
    assert keep(other, b"content").id != one.id
    assert kept.find("0" * 40) is None


def test_files_are_found_while_another_is_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """A file that takes long to be copied holds up nobody who reads another one."""
    kept, source = KeptFiles(tmp_path), tmp_path.with_name("source")
    source.write_bytes(b"large")
    one, found, copy = keep(kept, b"1"), list[KeptFile | None](), shutil.copyfile

    def find_and_copy(start: Path, end: Path) -> None:
        finder = threading.Thread(target=lambda: found.append(kept.find(one.id)))
        finder.start()
        finder.join(10)
        finders.append(finder)
        assert found == [one]
        copy(start, end)

    finders: list[threading.Thread] = []
    monkeypatch.setattr(shutil, "copyfile", find_and_copy)
    try:
        assert keep(kept, source).path.read_bytes() == b"large"
    finally:
        finders[0].join()


def test_file_lives_as_long_as_it_says(tmp_path: Path):
    """
    A file expires at its time, or later if it was kept again for longer; its content goes
    with the last file that has it.
    """
    now = [100.0]
    kept = KeptFiles(tmp_path, clock=lambda: now[0])
    one, two = keep(kept, b"1", seconds=10), keep(kept, b"1", "b", seconds=20)
    keep(kept, b"1", seconds=5)
    now[0] = 109
    assert kept.find(one.id) is not None
    now[0] = 110
    assert kept.find(one.id) is None
    assert one.path.exists()
    keep(kept, b"1", "b", seconds=20)
    now[0] = 129
    assert kept.find(two.id) is not None
    now[0] = 130
    assert kept.find(two.id) is None
    assert not one.path.exists()
    keep(kept, b"1", seconds=5)
    assert keep(kept, b"1").expires is None


def test_room_is_bounded(tmp_path: Path):
    """
    Beyond the limit, expired files go, then the oldest that have no time; one that has a
    time is never dropped before, and what has no room is refused.
    """
    now = [0.0]
    kept = KeptFiles(tmp_path, most=10, clock=lambda: now[0])
    old, new = keep(kept, b"1234", "old"), keep(kept, b"5678", "new")
    timed = keep(kept, b"90ab", "timed", seconds=10)
    assert [kept.find(each.id) is not None for each in (old, new, timed)] == [False, True, True]
    with pytest.raises(FileUploadException, match="has no room for 7 more, and may keep 10"):
        keep(kept, b"1234567")
    now[0] = 11
    assert keep(kept, b"1234567").path.read_bytes() == b"1234567"
    assert len([*tmp_path.iterdir()]) == 1


def test_folders_of_processes_that_are_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A service removes its folder as it ends, and those of services that were killed."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    code = """
        from fal_serve.media.kept_files import keeping
        with keeping("http://here") as own:
            own.kept.add(b"1", name="a", content_type="text/plain", seconds=None)
            print("kept", flush=True)
            import sys, os, signal
            if sys.argv[1] == "killed":
                os.kill(os.getpid(), signal.SIGKILL)
    """
    program = "\n".join(line[8:] for line in code.splitlines())
    variables = {**os.environ, "TMPDIR": str(tmp_path)}
    folder = tmp_path / f"fal-media-{os.getuid()}"
    for how, left in (("ended", 0), ("killed", 1)):
        ended = subprocess.run(
            [sys.executable, "-c", program, how], env=variables, capture_output=True, text=True
        )
        assert ended.stdout == "kept\n", ended.stderr
        assert len([*folder.iterdir()]) == left
    with keeping("http://here") as own:
        file = keep(own.kept, b"1")
        assert [*folder.iterdir()] == [file.path.parent]
        url = own.url_of(file.id, file.name)
        assert url == f"http://here/fal-media/{file.id}/a"
        assert find_own(url.replace("here", "another.name")) == file
    assert find_own(url) is None
