"""Downloads, and settings of libraries."""

from __future__ import annotations

from fal_compat.toolkit.utils.download_utils import (
    FAL_MODEL_WEIGHTS_DIR,
    FAL_PERSISTENT_DIR,
    FAL_REPOSITORY_DIR,
    DownloadError,
    clone_repository,
    download_file,
    download_model_weights,
)

__all__ = [
    "FAL_MODEL_WEIGHTS_DIR",
    "FAL_PERSISTENT_DIR",
    "FAL_REPOSITORY_DIR",
    "DownloadError",
    "clone_repository",
    "download_file",
    "download_model_weights",
]
