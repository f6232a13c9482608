"""Buckets of Google Cloud Storage."""

from fal_serve.media.buckets.google_storage import (
    GoogleStorageRepository as GoogleStorageRepository,
)
