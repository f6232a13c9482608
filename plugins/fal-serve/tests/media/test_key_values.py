"""Key-value stores of processes that no server runs."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from fal_serve.media.errors import KVStoreException
from fal_serve.media.key_values import KVStore


def test_values(data: Path, monkeypatch: pytest.MonkeyPatch):
    """
    A value is there for all processes, until it is removed or its time is over; stores are
    apart, and a time beyond the limits is refused.
    """
    store, other = KVStore("one"), KVStore("two")
    store.set("a", "1")
    store.set("b", "2", ttl=60)
    store.set("b", "3", ttl=60)
    assert (store.get("a"), store.get("b"), store.get("c"), other.get("a")) == (
        "1",
        "3",
        None,
        None,
    )
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 61)
    assert (store.get("a"), store.get("b")) == ("1", None)
    store.delete("a")
    store.delete("a")
    assert KVStore("one").get("a") is None
    for ttl in (0, 59, 2_592_001):
        with pytest.raises(KVStoreException, match="between 60 and 2592000"):
            store.set("a", "1", ttl=ttl)
    with pytest.raises(KVStoreException, match="No server runs this process"):
        _ = store.auth_headers


def test_store_that_cannot_be_written(data: Path):
    """A file that cannot be made is an error of the store."""
    data.write_text("no directory")
    with pytest.raises(KVStoreException, match="failed"):
        KVStore("one").get("a")
