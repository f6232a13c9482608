"""
Records of detached work, in an actor of the cluster.

This runs in a Python that has Ray, beside the launcher: it imports Ray and the standard
library alone.
"""

from __future__ import annotations

import glob
import json
import os
import time
from typing import Any

#: Seconds for which the record of work that has ended is kept.
_KEPT = 24 * 3600.0


class Records:
    """
    The actor that knows all detached work of the cluster, and keeps the journals of what has
    ended. There is one, on the head: what ends with the head has no use for it.
    """

    def __init__(self) -> None:
        import ray

        # It is started again where its process was lost, with the same id.
        own = ray.get_runtime_context().get_actor_id()
        cache = os.environ.get("XDG_CACHE_HOME") or os.path.join(
            os.path.expanduser("~"), ".cache"
        )
        self.folder = os.path.join(cache, "fal-core", "ray", "records", own)
        os.makedirs(self.folder, mode=0o700, exist_ok=True)
        self.known: dict[str, dict[str, Any]] = {}
        self.calls: dict[str, bytes] = {}
        self.codes: dict[str, bytes] = {}
        for path in glob.glob(os.path.join(glob.escape(self.folder), "*.json")):
            with open(path) as file:
                self.known[os.path.basename(path)[:-5]] = json.load(file)

    def has_code(self, digest: str) -> bool:
        return digest in self.codes

    def add_code(self, digest: str, code: bytes) -> None:
        self.codes[digest] = code

    def code(self, digest: str) -> bytes:
        return self.codes[digest]

    def add(self, reference: str, facts: dict[str, Any], call: bytes) -> None:
        """Record work that is about to be launched."""
        self._forget_old()
        self.calls[reference] = call
        self.known[reference] = {**facts, "launched": time.time()}
        self._write(reference)

    def take(self, reference: str) -> tuple[dict[str, Any], bytes]:
        """Return the facts of work, and its call."""
        return self.known[reference], self.calls[reference]

    def note(self, reference: str, **facts: Any) -> None:
        """Note what has become of work."""
        if reference in self.known and "closed" not in self.known[reference]:
            self.calls.pop(reference, None)
            self.known[reference] |= facts
            self._write(reference)

    def close(self, reference: str, status: dict[str, Any], journal: bytes) -> None:
        """Keep what is left of work that has ended, unless that was done before."""
        if reference not in self.known or "closed" in self.known[reference]:
            return
        with open(self._path(reference, "journal"), "wb") as file:
            file.write(journal)
        self.note(reference, status=status, closed=time.time())

    def find(self, reference: str) -> dict[str, Any] | None:
        return self.known.get(reference)

    def journal(self, reference: str) -> bytes:
        with open(self._path(reference, "journal"), "rb") as file:
            return file.read()

    def all(self) -> dict[str, dict[str, Any]]:
        return self.known

    def _path(self, reference: str, ending: str) -> str:
        return os.path.join(self.folder, f"{os.path.basename(reference)}.{ending}")

    def _write(self, reference: str) -> None:
        path = self._path(reference, "json")
        with open(f"{path}.new", "w") as file:
            json.dump(self.known[reference], file)
        os.replace(f"{path}.new", path)

    def _forget_old(self) -> None:
        before = time.time() - _KEPT
        for reference, facts in list(self.known.items()):
            if facts.get("closed", before) < before:
                del self.known[reference]
                for ending in ("json", "journal"):
                    if os.path.exists(self._path(reference, ending)):
                        os.unlink(self._path(reference, ending))
