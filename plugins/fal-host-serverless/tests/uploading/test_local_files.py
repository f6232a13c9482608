"""Files that travel with a function."""

from __future__ import annotations

import hashlib
from pathlib import Path

import attrs
import pytest

from fal_core.errors import OptionError
from fal_host_serverless.uploading.local_files import SIZE_LIMIT, LocalFile, Selection


def test_hash_is_of_content_and_mode(tmp_path: Path):
    """The hash covers content and mode."""
    path = tmp_path / "file"
    path.write_text("content")
    path.chmod(0o644)
    first = LocalFile.read(path, "file")
    path.chmod(0o755)
    second = LocalFile.read(path, "file")
    assert first.hash != second.hash
    assert first.hash == hashlib.sha256(b"content" + str(first.mode).encode()).hexdigest()


def test_ignored_files_stay(tmp_path: Path):
    """Patterns are searched for in paths relative to the folder."""
    for name in ("a.py", "b.tmp", "deep/c.py", "deep/d.tmp", "deep/skip/e.py"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    selection = Selection(
        paths=(".", "deep/c.py"), ignored=(r"\.tmp$", "^deep/skip/"), folder=tmp_path
    )
    assert [file.relative_path for file in selection.collect()] == ["a.py", "deep/c.py"]


@pytest.mark.parametrize(
    ("written", "sent"),
    [
        ("*.txt", [".c.txt", "a.txt", "b.txt"]),
        ("**.txt", [".c.txt", "a.txt", "b.txt"]),
        ("/?.txt", ["a.txt", "b.txt"]),
        ("[^a].txt", ["b.txt"]),
        ("d*", ["data/d.txt", "data/deep/e.txt"]),
        ("data/*.txt", ["data/d.txt"]),
        ("[x].txt", ["[x].txt"]),
    ],
)
def test_dockerfiles_copy_by_wildcards(written: str, sent: list[str], tmp_path: Path):
    """
    What a Dockerfile copies may be named with wildcards, which mean what they mean to
    ``COPY``; a file of just that name comes first. In ``app_files`` they mean nothing.
    """
    for name in ("a.txt", "b.txt", ".c.txt", "data/d.txt", "data/deep/e.txt", "[x].txt"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    copied = Selection(
        paths=(written,), ignored=(r"^\[x\]",) * (sent != [written]), folder=tmp_path
    )
    assert [
        file.relative_path for file in attrs.evolve(copied, is_context=True).collect()
    ] == sent
    if sent != [written]:
        with pytest.raises(OptionError, match="'app_files' names"):
            copied.check()


def test_dockerfile_that_copies_nothing_is_named(tmp_path: Path):
    """What a Dockerfile copies and is not there is an error that speaks of the Dockerfile."""
    selection = Selection(paths=("*.txt",), folder=tmp_path, is_context=True)
    with pytest.raises(
        OptionError, match=r"^The Dockerfile copies '\*\.txt', and there is no "
    ):
        selection.check()


@pytest.mark.parametrize(
    ("paths", "ignored", "words"),
    [
        (("missing",), (), "'missing', and there is no"),
        (("../",), (), "outside of"),
        ((".",), ("[",), "no regular expression"),
    ],
)
def test_wrong_files_are_refused(
    paths: tuple[str, ...], ignored: tuple[str, ...], words: str, tmp_path: Path
):
    """
    Missing files, files outside the folder and invalid patterns are refused, by the check as by
    the collection.
    """
    folder = tmp_path / "inside"
    folder.mkdir()
    (folder / "file").write_text("")
    (tmp_path / "outside").write_text("")
    selection = Selection(paths=paths, ignored=ignored, folder=folder)
    with pytest.raises(OptionError, match=words):
        selection.collect()
    with pytest.raises(OptionError, match=words):
        selection.check()


def test_files_too_large_are_refused(tmp_path: Path):
    """A file that is too large is refused before it is read."""
    with (tmp_path / "large").open("wb") as file:
        file.truncate(SIZE_LIMIT + 1)
    selection = Selection(paths=("large",), folder=tmp_path)
    with pytest.raises(OptionError, match="large has more than"):
        selection.check()
    with pytest.raises(OptionError, match="large has more than"):
        selection.collect()
