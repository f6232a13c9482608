"""Recent bodies: those of requests that were just stored, and most of which are asked for soon."""

from __future__ import annotations

import attrs

#: The bytes of all of them, with what an entry costs.
_MOST = 4 << 20
_OVERHEAD = 200


@attrs.define(eq=False)
class RecentBodies:
    """Small bodies by the ids of their requests; the oldest make room."""

    most: int = _MOST
    _bodies: dict[str, bytes] = attrs.field(factory=dict, init=False)
    _size: int = attrs.field(default=0, init=False)

    def keep(self, id: str, body: bytes) -> None:
        """Keep the body of a request that was not kept before."""
        self._bodies[id] = body
        self._size += len(body) + _OVERHEAD
        while self._size > self.most:
            self.take(next(iter(self._bodies)))

    def take(self, id: str) -> bytes | None:
        """Return the body of a request, and keep it no longer. None where it is not kept."""
        body = self._bodies.pop(id, None)
        if body is not None:
            self._size -= len(body) + _OVERHEAD
        return body
