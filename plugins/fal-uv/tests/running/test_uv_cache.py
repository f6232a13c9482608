"""Leftovers of builds in uv's cache."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

from fal_core.stores import prune
from fal_testing.harness.processes import wait_until
from fal_uv.running import uv_cache
from fal_uv.running.uv_cache import UvCache


def test_builds_of_a_uv_that_is_started_meanwhile_stay(
    tmp_path: Path, monkeypatch: Any
) -> None:
    """A new directory stays, even if the first uv is started while the cache is searched."""
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "uv"))
    (tmp_path / "uv" / "builds-v0" / ".tmpNEW").mkdir(parents=True)
    seen = iter([False])
    monkeypatch.setattr(uv_cache, "_is_uv_running", lambda: next(seen, True))
    assert uv_cache.old_builds() == []


def test_leftovers_are_removed_and_nothing_else(tmp_path: Path, monkeypatch: Any) -> None:
    """
    The directory of a build that has long not changed is removed, unless some uv runs; the
    cache itself belongs to others too.
    """
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "uv"))
    old, new = (tmp_path / "uv" / "builds-v0" / name for name in (".tmpOLD", ".tmpNEW"))
    for place in (old, new):
        place.mkdir(parents=True)
        (place / "file").write_bytes(bytes(10_000))
    os.utime(old, (0, 0))
    busy = tmp_path / "uv-program"
    (busy / "bin").mkdir(parents=True)
    (busy / "bin" / "uv").symlink_to("/bin/sleep")
    process = subprocess.Popen([busy / "bin" / "uv", "600"])
    try:
        assert wait_until(
            lambda: b"uv" in Path(f"/proc/{process.pid}/cmdline").read_bytes(), 60
        )
        assert UvCache().leftovers(dry_run=False) == 0
        assert old.exists()
    finally:
        process.kill()
        process.wait()
    # Other programs of this machine may run uv as well, for a while.
    assert wait_until(lambda: UvCache().leftovers(dry_run=True) >= 10_000, 120)
    assert old.exists()
    assert wait_until(
        lambda: UvCache().leftovers(dry_run=False) >= 10_000 or not old.exists(), 120
    )
    assert not old.exists()
    assert new.exists()
    [entry] = UvCache().entries()
    assert (entry.key, entry.path) == ("uv", str(tmp_path / "uv"))
    assert entry.size >= 10_000
    assert UvCache().is_shared
    assert not UvCache().remove(entry)
    assert prune([UvCache()], max_size=0).entries == ()
    assert new.exists()
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "none"))
    assert UvCache().entries() == []
