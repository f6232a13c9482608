"""Clones: git repositories that an application brings onto its machine."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from fal_serve.media.errors import DownloadError
from fal_serve.media.fetching import show_url
from fal_serve.media.places import REPOSITORIES, find_place

_COMMIT = re.compile(r"[0-9A-Za-z][0-9A-Za-z._/-]*")

#: Git never asks for a password, and gives up a server that sends nothing for a minute.
_SETTINGS = {
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_HTTP_LOW_SPEED_LIMIT": "1",
    "GIT_HTTP_LOW_SPEED_TIME": "60",
}


def clone_repository(
    https_url: str,
    *,
    commit_hash: str | None = None,
    target_dir: str | os.PathLike[str] | None = None,
    repo_name: str | None = None,
    force: bool = False,
    include_to_path: bool = False,
) -> Path:
    """
    Clone a git repository, with its submodules, and return its folder.

    A clone that is there already is kept if it has *commit_hash*; without one, the
    repository is cloned again.

    Arguments:
        target_dir: The folder in which the clone is put; one of all repositories by default.

        repo_name: The name of the clone: by default that of the repository, with the
            beginning of the commit.

        force: Whether to clone it again even so.

        include_to_path: Whether to put the clone first on ``sys.path``.

    Raises:
        DownloadError: Git cannot clone it, or it has no such commit. A clone that was there
            is still there.
    """
    name = repo_name or Path(https_url).stem
    if commit_hash is not None:
        _check_commit(commit_hash)
        name = repo_name or f"{name}-{commit_hash[:8]}"
    if name in ("", ".", "..") or "/" in name:
        raise ValueError(f"A clone cannot be called {name!r}. Give it a repo_name.")
    folder = find_place(target_dir or REPOSITORIES).absolute()
    clone = folder / name
    if force or not _has_commit(clone, commit_hash):
        print(f"Cloning {show_url(https_url)} to {clone}", flush=True)
        _clone(https_url, clone, commit_hash)
    if include_to_path and str(clone) not in sys.path:
        sys.path.insert(0, str(clone))
    return clone


def _check_commit(commit: str) -> None:
    if len(commit) < 8 or not _COMMIT.fullmatch(commit):
        raise ValueError(
            f"commit_hash {commit!r} is too short, or is none: write at least 8 of its digits."
        )


def _clone(url: str, clone: Path, commit: str | None) -> None:
    try:
        clone.parent.mkdir(parents=True, exist_ok=True)
        made = Path(tempfile.mkdtemp(prefix=f".{clone.name}.", dir=clone.parent))
    except OSError as error:
        raise DownloadError(
            f"{show_url(url)} cannot be cloned into {clone.parent}: {error.strerror}."
        ) from error
    try:
        new = made / "new"
        _git(["clone", "--quiet", "--recursive", "--", url, str(new)], made, url)
        if commit is not None:
            _git(["checkout", "--quiet", "--detach", commit], new, url)
            _git(["submodule", "--quiet", "update", "--init", "--recursive"], new, url)
        # The old clone makes room for the new one, and only then is removed.
        with contextlib.suppress(FileNotFoundError):
            clone.rename(made / "old")
        try:
            new.rename(clone)
        except OSError as error:
            if not _has_commit(clone, commit):
                raise DownloadError(f"{clone} cannot be made: {error.strerror}.") from error
    finally:
        shutil.rmtree(made, ignore_errors=True)


def _has_commit(clone: Path, commit: str | None) -> bool:
    if commit is None or not (clone / ".git").exists():
        return False
    head, wanted = (
        _run(["rev-parse", "--verify", "--quiet", f"{each}^{{commit}}"], clone)
        for each in ("HEAD", commit)
    )
    return head.returncode == wanted.returncode == 0 and head.stdout == wanted.stdout


def _git(arguments: Sequence[str], folder: Path, url: str) -> None:
    ended = _run(arguments, folder)
    if ended.returncode:
        lines = [line for line in ended.stderr.strip().splitlines() if line.strip()]
        said = lines[-1].strip() if lines else f"it ended with {ended.returncode}"
        # Git writes the URL as it was given, with its credentials.
        said = said.replace(url, show_url(url)).rstrip(".")
        raise DownloadError(f"git could not {arguments[0]} {show_url(url)}: {said}.")


def _run(arguments: Sequence[str], folder: Path) -> subprocess.CompletedProcess[str]:
    # Of a git that runs this program, as in a hook.
    outer = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE")
    variables = {key: value for key, value in os.environ.items() if key not in outer}
    try:
        return subprocess.run(
            ["git", *arguments],
            cwd=folder,
            env={**variables, **_SETTINGS},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
        )
    except FileNotFoundError as error:
        raise DownloadError(
            "Repositories are cloned with git, which is not installed here. Add it to the "
            "image."
        ) from error
