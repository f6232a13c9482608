"""Downloads."""

from __future__ import annotations

from fal_serve.media.clones import (
    clone_repository,
)
from fal_serve.media.downloads import (
    download_file,
    download_model_weights,
    hash_url,
)
from fal_serve.media.errors import (
    DownloadError,
)
from fal_serve.media.places import (
    PERSISTENT as FAL_PERSISTENT_DIR,
)
from fal_serve.media.places import (
    REPOSITORIES as FAL_REPOSITORY_DIR,
)
from fal_serve.media.places import (
    WEIGHTS as FAL_MODEL_WEIGHTS_DIR,
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

#: Programs use it, although it is private.
_hash_url = hash_url
