"""Buckets of Amazon S3."""

from fal_serve.media.buckets.s3 import S3Repository as S3Repository
