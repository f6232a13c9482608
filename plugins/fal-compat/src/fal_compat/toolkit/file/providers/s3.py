"""Buckets of Amazon S3."""

from __future__ import annotations

from fal_serve.media.buckets.s3 import S3Repository

__all__ = ["S3Repository"]
