"""
Routes, and the server that answers them.
"""

from __future__ import annotations

from fal_core_worker.routes import RouteSignature
from fal_core_worker.services import Server

__all__ = ["RouteSignature", "Server"]
