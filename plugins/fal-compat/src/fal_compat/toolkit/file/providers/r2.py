"""Buckets of Cloudflare R2."""

from __future__ import annotations

from fal_serve.media.buckets.r2 import R2Repository

__all__ = ["R2Repository"]
