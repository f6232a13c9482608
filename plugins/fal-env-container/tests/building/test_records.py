"""Where records of images are kept."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fal_core.errors import HostError
from fal_env_container.building.records import (
    ImageRecord,
    read_record,
    read_records,
    remove_records,
    write_record,
)


def test_records_are_found_and_removed(cache: Path):
    """A record is found by the recipe and by the key of its image; one that is damaged is none."""
    assert read_record("digest") is None
    write_record("digest", ImageRecord(key="key", bases={"a": "1"}))
    found = read_record("digest")
    assert found is not None
    assert (found.key, found.bases) == ("key", {"a": "1"})
    (cache / "containers/images/damaged.json").write_text("{")
    assert list(read_records()) == ["key"]
    remove_records("key")
    assert read_record("digest") is None


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files to others")
def test_cache_of_another_user_is_refused(cache: Path):
    """A cache of another user, who could change what is run from it, is one sentence."""
    cache.mkdir()
    os.chown(cache, 12345, 12345)
    with pytest.raises(HostError, match="belongs to"):
        read_record("digest")
