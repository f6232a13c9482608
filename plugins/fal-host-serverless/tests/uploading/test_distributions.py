"""Source distributions of local projects."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from fal_core.errors import FalServerlessError
from fal_core.events import Log
from fal_host_serverless import SyncServerlessClient
from fal_host_serverless.uploading import distributions


def test_packing_is_repeatable(own: Path):
    """The same content makes the same archive; a project is packed again only after a change."""
    first = distributions.pack(own)
    content = first.archive.read_bytes()
    looks = distributions.fingerprint(own)
    (own / "own.egg-info").mkdir()
    (own / "src/own/__pycache__").mkdir()
    assert distributions.fingerprint(own) == looks
    for path in own.rglob("*.py"):
        os.utime(path, (1_000_000_000, 1_000_000_000))
    assert distributions.fingerprint(own) != looks
    second = distributions.pack(own)
    assert second.archive.read_bytes() == content
    assert second.fingerprint != first.fingerprint
    (own / "src/own/__init__.py").write_text("1")
    third = distributions.pack(own)
    assert third.digest != first.digest
    assert [*third.folder.glob("*.tar.gz")] == [third.archive]


def test_calls_at_once_wait_for_one_upload(rest: Any, asking: SyncServerlessClient, own: Path):
    """One of several calls that begin together packs and uploads; the others use its URL."""
    lines: list[Log] = []
    with asking.rest() as client, ThreadPoolExecutor(8) as threads:
        found = threads.map(
            lambda _: distributions.publish(own, client, lines.append), range(8)
        )
        assert {*found} == {f"http://{rest.address}/stored/own-1.tar.gz"}
        assert rest.asked.count(("PUT", "/stored/own-1.tar.gz")) == 1
        assert len(lines) == 1
        asked = len(rest.asked)
        distributions.distrust_urls()
        rest.stored.clear()
        distributions.publish(own, client, lines.append)
        assert len(lines) == 2
        assert rest.asked[asked] == ("GET", "/stored/own-1.tar.gz")


def test_project_is_packed_without_a_writable_cache(own: Path, monkeypatch: pytest.MonkeyPatch):
    """Without a writable cache, archives are kept for as long as the process."""
    monkeypatch.setenv("FAL_CORE_CACHE", "/proc/nowhere")
    assert distributions.pack(own).archive.is_file()


@pytest.mark.skipif(os.geteuid() != 0, reason="Only root makes directories of other users.")
def test_cache_of_another_user_is_refused(
    own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Nothing that is sent is taken from a cache that another user can change."""
    monkeypatch.setenv("FAL_CORE_CACHE", str(tmp_path / "cache"))
    (tmp_path / "cache").mkdir()
    os.chown(tmp_path / "cache", 54321, 54321)
    with pytest.raises(FalServerlessError, match="is refused: it belongs to"):
        distributions.pack(own)
