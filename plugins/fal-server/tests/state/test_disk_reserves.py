"""Disk reserves: room that is kept for clients with a key."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from fal_server.state import disk_reserves
from fal_server.state.disk_reserves import DiskReserve, DiskReserved

GIB = 1 << 30


@pytest.mark.parametrize(
    ("total", "least"), [(8 * GIB, GIB), (200 * GIB, 10 * GIB)], ids=["small", "large"]
)
def test_default_reserve(
    total: int, least: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """A twentieth of the disk is kept, and at least 1G."""
    free = [least]
    monkeypatch.setattr(
        shutil, "disk_usage", lambda _: SimpleNamespace(total=total, free=free[0])
    )
    DiskReserve(tmp_path).check()
    free[0] -= 1
    with pytest.raises(DiskReserved, match="with a key"):
        DiskReserve(tmp_path).check()


def test_disk_is_not_looked_at_for_each_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    """
    The disk is looked at again after a second at the earliest, and a full one is logged once
    in a while.
    """
    now, looks = [0.0], []
    monkeypatch.setattr(disk_reserves, "time", SimpleNamespace(monotonic=lambda: now[0]))

    def look(_: Path) -> SimpleNamespace:
        looks.append(now[0])
        return SimpleNamespace(total=100, free=9 if len(looks) < 3 else 11)

    monkeypatch.setattr(shutil, "disk_usage", look)
    reserve = DiskReserve(tmp_path, 10)
    for now[0] in (0.0, 0.5, 0.9, 1.0, 1.5):
        with pytest.raises(DiskReserved):
            reserve.check()
    now[0] = 2.0
    reserve.check()
    assert looks == [0.0, 1.0, 2.0]
    assert [each.getMessage().count("--disk-reserve") for each in caplog.records] == [1]
