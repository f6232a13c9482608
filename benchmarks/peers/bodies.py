"""The body of a request, as all servers are sent it."""

from __future__ import annotations

BODY = {
    "prompt": "a cat on a bench, oil on canvas",
    "seed": 42,
    "strength": 0.8,
    "tags": ["cat", "bench", "oil"],
}
