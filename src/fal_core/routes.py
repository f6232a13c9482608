"""
The route of an endpoint.
"""

from __future__ import annotations

from fal_core_worker.serving.routes import RouteSignature

__all__ = ["RouteSignature"]
