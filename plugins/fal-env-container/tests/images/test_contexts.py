"""The files of a build context: which are seen, their digest, and their copy."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from fal_core.errors import OptionError
from fal_env_container.images.contexts import Context, copy_to, digest_of
from fal_env_container.images.ignore_patterns import IgnorePatterns

Seen = Callable[..., list[str]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "context"
    for name in ("a.txt", "b.py", "src/one.py", "src/deep/two.py", "src/deep/x.tmp"):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return folder


@pytest.fixture
def seen(folder: Path) -> Seen:
    def select(*paths: str, ignored: str = "") -> list[str]:
        context = Context(str(folder), IgnorePatterns.parse(ignored.splitlines()))
        return [each.path for each in context.select(paths)]

    return select


def test_only_what_is_copied_is_seen(seen: Seen):
    """A file brings itself and its directories, a directory all that is in it."""
    assert seen("a.txt") == ["a.txt"]
    assert seen("src/one.py") == ["src", "src/one.py"]
    assert seen("src/deep") == ["src", "src/deep", "src/deep/two.py", "src/deep/x.tmp"]
    assert seen("nothing", "a.txt/x") == []
    assert seen("") == [
        *("a.txt", "b.py", "src", "src/deep"),
        *("src/deep/two.py", "src/deep/x.tmp", "src/one.py"),
    ]


def test_wildcards_match_within_one_directory(seen: Seen):
    """A star of COPY stops at a slash; what it matches brings all that is in it."""
    assert seen("*.py") == ["b.py"]
    assert seen("src/*.py") == ["src", "src/one.py"]
    assert seen("sr?/d*") == ["src", "src/deep", "src/deep/two.py", "src/deep/x.tmp"]
    with pytest.raises(OptionError, match="no pattern"):
        seen("a[")


def test_what_is_ignored_is_not_seen(seen: Seen):
    """What a .dockerignore leaves out is no part of the build, unless it is taken back in."""
    assert seen("", ignored="*\n!src/deep\n**/*.tmp") == ["src/deep", "src/deep/two.py"]
    assert seen("src", ignored="src/deep") == ["src", "src/one.py"]


def test_links_in_a_name_are_followed_inside_the_context(folder: Path, seen: Seen):
    """COPY of a link copies what it leads to, and a link inside a directory stays a link."""
    (folder / "current").symlink_to("src")
    (folder / "absolute.py").symlink_to("/src/one.py")
    (folder / "loop").symlink_to("loop")
    assert seen("current/one.py") == ["current", "src", "src/one.py"]
    assert seen("absolute.py") == ["absolute.py", "src", "src/one.py"]
    assert seen("loop") == ["loop"]
    (folder / "src" / "link").symlink_to("/etc/passwd")
    assert "src/link" in seen("src")


def test_digest_changes_with_content_and_mode_alone(folder: Path):
    """Names, contents, modes and targets of links count; times do not."""

    def digest(*paths: str) -> str:
        return digest_of(Context(str(folder)).select(paths))

    first = digest("")
    os.utime(folder / "a.txt", (1, 1))
    assert digest("") == first
    kept = digest("src")
    (folder / "a.txt").write_text("B.txt")
    assert digest("src") == kept
    digests = {first, digest("")}
    (folder / "a.txt").chmod(0o755)
    digests.add(digest(""))
    (folder / "link").symlink_to("a.txt")
    digests.add(digest(""))
    (folder / "link").unlink()
    (folder / "link").symlink_to("b.py")
    digests.add(digest(""))
    (folder / "empty").mkdir()
    digests.add(digest(""))
    assert len(digests) == 6


def test_copy_is_what_was_seen(folder: Path, tmp_path: Path):
    """A copy has the contents, modes and times of what was seen, and no sockets or pipes."""
    (folder / "b.py").chmod(0o750)
    os.mkfifo(folder / "pipe")
    (folder / "link").symlink_to("b.py")
    entries = Context(str(folder)).select([""])
    copy_to(str(tmp_path / "copy"), entries)
    copied = Context(str(tmp_path / "copy")).select([""])
    assert digest_of(copied) == digest_of(entries)
    assert stat.S_IMODE((tmp_path / "copy/b.py").stat().st_mode) == 0o750
    assert (tmp_path / "copy/a.txt").stat().st_mtime == (folder / "a.txt").stat().st_mtime
    assert not (tmp_path / "copy/pipe").exists()


def test_missing_sources_are_explained(folder: Path):
    """A name that leads to nothing is missing, or left out by a line that is named."""
    context = Context(str(folder), IgnorePatterns.parse(["*.txt"]))
    assert context.explain_missing("b.py") is None
    assert "'*.txt'" in str(context.explain_missing("a.txt"))
    assert "no x.py" in str(context.explain_missing("x.py"))
    with pytest.raises(OptionError, match="no directory"):
        Context(str(folder / "a.txt")).select([""])


def test_names_with_wildcards_are_not_sent(tmp_path: Path):
    """
    Among the files of a client, a name with wildcards may stand for nothing because its client
    sends none for it, which is said; a plain name was not where the client looked.
    """
    sent = Context(str(tmp_path), shown="")
    told = "There is no {} among the files that were sent for the build."
    assert sent.explain_missing("a.csv") == (
        f"{told.format('a.csv')} A client looks for it in the 'context_dir' of the image."
    )
    for name in ("*.csv", "a?.csv", "[ab].csv", "data/*"):
        assert sent.explain_missing(name) == (
            f"{told.format(name)} fal's SDK sends no files for a name with wildcards: name "
            "their folder, or each of them."
        )
    (tmp_path / "a.csv").write_text("")
    assert sent.explain_missing("*.csv") is None
