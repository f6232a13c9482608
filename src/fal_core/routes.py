"""Routes, and the server that answers them."""

from __future__ import annotations

from fal_core_worker.serving.routes import RouteSignature
from fal_core_worker.serving.services import Server

__all__ = ["RouteSignature", "Server"]
