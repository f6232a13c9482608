"""Compiled kernels of PyTorch."""

from __future__ import annotations

from fal_serve.media.compilation import (
    get_gpu_type,
    load_inductor_cache,
    sync_inductor_cache,
    synchronized_inductor_cache,
)

__all__ = [
    "get_gpu_type",
    "load_inductor_cache",
    "sync_inductor_cache",
    "synchronized_inductor_cache",
]
