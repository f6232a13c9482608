"""Buckets of Google Cloud Storage."""

from __future__ import annotations

from fal_serve.media.buckets.google_storage import GoogleStorageRepository

__all__ = ["GoogleStorageRepository"]
