"""Clones of git repositories."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from fal_serve.media.clones import clone_repository
from fal_serve.media.errors import DownloadError

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")


def git(folder: Path, *arguments: str) -> str:
    """Run git, and return what it prints."""
    who = ("-c", "user.name=A", "-c", "user.email=a@example.com")
    command = ["git", *who, *arguments]
    ended = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    return ended.stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with two commits."""
    folder = tmp_path / "thing.git"
    folder.mkdir()
    git(folder, "init", "--quiet")
    for text in ("one", "two"):
        (folder / "thing_module.py").write_text(f"word = {text!r}\n")
        git(folder, "add", ".")
        git(folder, "commit", "--quiet", "-m", text)
    return folder


def test_clones(repository: Path, data: Path, monkeypatch: pytest.MonkeyPatch):
    """A commit is cloned once, into a folder of its own, which can be imported from."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    first = git(repository, "rev-parse", "HEAD~1")
    clone = clone_repository(str(repository), commit_hash=first, include_to_path=True)
    assert clone == data / ".fal" / "repos" / f"thing-{first[:8]}"
    assert (clone / "thing_module.py").read_text() == "word = 'one'\n"
    assert sys.path[0] == str(clone)
    (clone / "mark").write_text("")
    clone_repository(str(repository), commit_hash=first[:12], repo_name=clone.name)
    assert (clone / "mark").exists()
    clone_repository(str(repository), commit_hash=first, force=True)
    assert not (clone / "mark").exists()
    newest = clone_repository(str(repository), target_dir="/data/mine", repo_name="other")
    assert (newest / "thing_module.py").read_text() == "word = 'two'\n"
    assert newest == data / "mine" / "other"
    assert [each.name for each in newest.parent.iterdir()] == ["other"]


def test_refused_clones(repository: Path, data: Path):
    """
    What git cannot do is told in a sentence without credentials, and leaves the clone that
    was there.
    """
    clone = clone_repository(str(repository), repo_name="thing")
    with pytest.raises(DownloadError, match="git could not checkout"):
        clone_repository(str(repository), commit_hash="0" * 40, repo_name="thing")
    assert [each.name for each in clone.parent.iterdir()] == ["thing"]
    assert (clone / "thing_module.py").exists()
    with pytest.raises(DownloadError) as caught:
        clone_repository("file://user:secret@host.invalid/nothing.git")
    assert "git could not clone file://host.invalid/nothing.git" in str(caught.value)
    assert "secret" not in str(caught.value)
    for commit in ("abc", "--upload-pack=touch /tmp/x"):
        with pytest.raises(ValueError, match="at least 8"):
            clone_repository(str(repository), commit_hash=commit)
    with pytest.raises(ValueError, match="repo_name"):
        clone_repository(str(repository), repo_name="..")
