"""Buckets of Cloudflare R2."""

from fal_serve.media.buckets.r2 import R2Repository as R2Repository
