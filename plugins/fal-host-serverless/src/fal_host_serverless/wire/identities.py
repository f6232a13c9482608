"""What identifies the sender of a request."""

from __future__ import annotations

from typing import Protocol


class Identity(Protocol):
    """Who sends requests, as gRPC and HTTP requests say it."""

    def metadata(self) -> tuple[tuple[str, str], ...]:
        """Return the metadata that gRPC requests carry."""

    def headers(self) -> dict[str, str]:
        """Return the headers that HTTP requests carry."""
