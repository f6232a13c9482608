"""
Leftovers of builds in uv's cache.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fal_uv.running import uv_cache


def test_builds_of_a_uv_that_is_started_meanwhile_stay(
    tmp_path: Path, monkeypatch: Any
) -> None:
    """
    A new directory stays, even if the first uv is started while the cache is searched.
    """
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "uv"))
    (tmp_path / "uv" / "builds-v0" / ".tmpNEW").mkdir(parents=True)
    seen = iter([False])
    monkeypatch.setattr(uv_cache, "_is_uv_running", lambda: next(seen, True))
    assert uv_cache.old_builds() == []
