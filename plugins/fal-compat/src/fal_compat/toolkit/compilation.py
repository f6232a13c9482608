"""Compiled kernels of PyTorch."""

from fal_serve.media.compilation import get_gpu_type as get_gpu_type
from fal_serve.media.compilation import load_inductor_cache as load_inductor_cache
from fal_serve.media.compilation import sync_inductor_cache as sync_inductor_cache
from fal_serve.media.compilation import (
    synchronized_inductor_cache as synchronized_inductor_cache,
)
