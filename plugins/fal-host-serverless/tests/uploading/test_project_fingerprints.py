"""Fingerprints of projects."""

from __future__ import annotations

import subprocess
from pathlib import Path

from fal_host_serverless.uploading import distributions


def test_commit_and_tag_change_the_fingerprint(own: Path):
    """Commit and tags change the fingerprint, since versions are derived from them."""

    def git(*arguments: str) -> str:
        identity = ("-c", "user.name=me", "-c", "user.email=me@example.org")
        subprocess.run(["git", *identity, *arguments], cwd=own.parent, check=True)
        return distributions.fingerprint(own)

    looks = [
        distributions.fingerprint(own),
        git("init", "-q"),
        git("commit", "-q", "--allow-empty", "-m", "first"),
        git("commit", "-q", "--allow-empty", "-m", "second"),
        git("tag", "v1"),
    ]
    assert len({*looks}) == len(looks)
