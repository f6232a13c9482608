"""
Blobs: the uploads in progress, and the contents that are stored.
"""

from __future__ import annotations

import os

from fal_server.store.blobs import Blobs


def test_abandoned_uploads_are_dropped(tmp_path):
    """
    Uploads that were not completed are dropped after a day; younger ones stay.
    """
    blobs = Blobs(tmp_path)
    old, young = blobs.begin("a"), blobs.begin("a")
    os.utime(tmp_path / "uploads" / old, (1, 1))
    blobs.drop_abandoned()
    assert [path.name for path in (tmp_path / "uploads").iterdir()] == [young]
