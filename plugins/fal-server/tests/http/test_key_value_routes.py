"""The routes of the key-value store."""

from __future__ import annotations

from typing import Any


def test_values(plane: Any):
    """
    A value is stored, read and deleted with a token for uploads, as the toolkit does it; what
    is refused says so under the name that the toolkit reads.
    """
    with plane.client() as client:
        token = client.post("/storage/auth/token").json()["token"]
    with plane.client() as client:
        client.headers["Authorization"] = f"Bearer {token}"
        assert client.put("/set/db/a/b?ttl=60", content=b"sesame").status_code == 200
        assert client.get("/get/db/a/b").json() == {"value": "sesame"}
        assert client.delete("/delete/db/a/b").status_code == 200
        assert client.get("/get/db/a/b").status_code == 404
        for query, content in (("?ttl=59", b"x"), ("?ttl=x", b"x"), ("", b"\xff")):
            refused = client.put(f"/set/db/a{query}", content=content)
            assert refused.status_code == 422
            assert refused.json()["error"] == refused.json()["detail"]
        assert client.put("/set/db/a", content=b"x" * (2 << 20)).status_code == 413
    with plane.client("no:key") as client:
        assert client.get("/get/db/a/b").status_code == 401
