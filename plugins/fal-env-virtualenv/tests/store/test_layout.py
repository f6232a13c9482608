"""
Where everything is kept.
"""

from __future__ import annotations

from pathlib import Path

from fal_env_virtualenv.store import layout


def test_everything_is_below_one_directory(cache: Path) -> None:
    """
    Records and locks are kept by key, below the directory of this plugin.
    """
    assert layout.store_root() == str(cache)
    assert layout.record_path("key") == f"{cache}/keys/key.json"
    assert layout.lock_path("key") == f"{cache}/locks/key.lock"
    layout.make_directories()
    assert Path(layout.record_path("key")).parent.is_dir()
    assert Path(layout.lock_path("key")).parent.is_dir()


def test_missing_directory_is_empty(tmp_path: Path) -> None:
    """
    A directory that does not exist has no names, and takes no space.
    """
    (tmp_path / "file").write_bytes(b"x" * 10_000)
    assert layout.list_directory(str(tmp_path)) == ["file"]
    assert layout.disk_usage(str(tmp_path)) >= 10_000
    assert layout.list_directory(str(tmp_path / "nowhere")) == []
    assert layout.disk_usage(str(tmp_path / "nowhere")) == 0
